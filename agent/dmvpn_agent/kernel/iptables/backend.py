"""Which firewall this node has."""

import shutil

from dmvpn_agent.kernel.iptables.settings import Backend


def in_use(backend: Backend) -> Backend:
    """Return the configured firewall; of ``auto``, the one whose program is there, nftables first."""
    if backend is not Backend.AUTO:
        return backend
    only_iptables = shutil.which("nft") is None and shutil.which("iptables") is not None
    return Backend.IPTABLES if only_iptables else Backend.NFTABLES
