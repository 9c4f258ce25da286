"""Reads how the kernel asks about old entries of IPv6 neighbours at the tunnel interfaces."""

from collections.abc import Iterable
from contextlib import suppress

from dmvpn_agent.kernel.links.kernel_links import PROC
from dmvpn_agent.kernel.links.settings import neighbour_sysctls


async def neighbour_differences(interfaces: Iterable[str]) -> dict[str, str]:
    """Return for each interface the commands that are missing, empty if none is. Raises ``OSError``.

    An interface that does not exist is left out.
    """
    found = {}
    for name in interfaces:
        with suppress(FileNotFoundError):
            found[name] = "; ".join(
                f"sysctl -w {sysctl.name}={sysctl.value}"
                for sysctl in neighbour_sysctls(name)
                if (PROC / sysctl.path).read_text().strip() != str(sysctl.value)
            )
    return found
