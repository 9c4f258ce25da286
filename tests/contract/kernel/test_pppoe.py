"""An uplink by PPPoE: the real pppd, and pppoe-server as the provider, in two network namespaces."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from contract.kernel.far_namespace import far_namespace, process
from contract.kernel.kept_uplinks import KeptUplinks, leaves_by, rules
from contract.namespaces import command, in_network_namespace, needs
from dmvpn_agent.kernel.uplink.settings import AUTO, Uplink
from fakes.waiting import until


def _has_ppp() -> bool:
    try:
        os.close(os.open("/dev/ppp", os.O_RDWR))
    except OSError:
        return False
    return True


pytestmark = [
    pytest.mark.contract,
    needs("ip", "nsenter", "unshare", "pppd", "pppoe-server"),
    pytest.mark.skipif(not _has_ppp(), reason="this kernel has no PPP"),
]

PROVIDER = "noauth\nlcp-echo-interval 1\nlcp-echo-failure 3\n"
CLIENT = (
    "pppd nodetach noauth noipdefault plugin rp-pppoe.so up0 persist maxfail 0 holdoff 1"
    " lcp-echo-interval 1 lcp-echo-failure 3"
)


@contextmanager
def _provider(directory: Path, inside: tuple[str, ...], own: str, given: str) -> Iterator[None]:
    """Run a provider that gives out one address; ``inside``: how a command is run in its namespace."""
    options = directory / "options"
    options.write_text(PROVIDER)
    server = ("pppoe-server", "-F", "-I", "far0", "-L", own, "-R", given, "-N", "1", "-O", str(options))
    with process(*inside, *server) as running:
        yield
        running.terminate()  # it ends its connections
        running.wait()


@in_network_namespace
async def test_the_tunnel_follows_the_address_that_a_provider_gives_anew(tmp_path: Path) -> None:
    """The provider ends the connection, pppd makes ``ppp0`` again, and the rules are the new address's alone."""
    command("ip", "link", "set", "lo", "up")
    kept = KeptUplinks(Uplink("ppp0", AUTO))

    def carries(address: str) -> bool:
        return kept.local == address and f"from {address} lookup" in rules() and leaves_by(address) == "dev ppp0"

    async with far_namespace("up0", "far0") as inside, kept.run():
        command("ip", "link", "set", "up0", "up")
        with process(*CLIENT.split()):
            with _provider(tmp_path, inside, "198.51.100.1", "192.0.2.50"):
                await until(lambda: carries("192.0.2.50"))
                first = kept.watch.links["ppp0"].index
            with _provider(tmp_path, inside, "198.51.100.2", "192.0.2.60"):
                await until(lambda: carries("192.0.2.60"))
                assert kept.watch.links["ppp0"].index != first
                assert "192.0.2.50" not in rules()
