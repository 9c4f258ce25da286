"""Which firewall has the redirect and multicast rules, and what of them is in the agent's chain of iptables."""

from dataclasses import dataclass
from enum import StrEnum

from dmvpn_agent.addresses import IP_VERSIONS
from dmvpn_agent.kernel.nftables.multicast_rule import MulticastRule
from dmvpn_agent.kernel.nftables.redirect_rule import RedirectRule


class Backend(StrEnum):
    """``auto``: nftables, or iptables on a node that has iptables and no nft."""

    AUTO = "auto"
    NFTABLES = "nftables"
    IPTABLES = "iptables"


@dataclass(frozen=True, slots=True)
class ChainSettings:
    """The rules in the chain, ``None`` for one that is off or in nftables; ``versions``: for which IP versions."""

    redirect: RedirectRule | None = None
    multicast: MulticastRule | None = None
    versions: tuple[int, ...] = IP_VERSIONS

    @property
    def keeps_chain(self) -> bool:
        """Tell whether the agent keeps a chain of iptables."""
        return bool(self.redirect or self.multicast)
