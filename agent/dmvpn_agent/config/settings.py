"""The configuration of the agent and the bridge."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dmvpn_agent.bgp.settings import BgpSettings
from dmvpn_agent.bridge.settings import Bridge
from dmvpn_agent.charon.settings import Ike
from dmvpn_agent.crls.settings import CrlSettings
from dmvpn_agent.frr.settings import Frr
from dmvpn_agent.kernel.iptables.settings import Backend, ChainSettings
from dmvpn_agent.kernel.links.settings import TunnelSettings
from dmvpn_agent.kernel.nftables.gre_guard import GreGuard
from dmvpn_agent.kernel.nftables.multicast_rule import MulticastRule
from dmvpn_agent.kernel.nftables.redirect_rule import RedirectRule
from dmvpn_agent.kernel.nftables.settings import TableSettings
from dmvpn_agent.kernel.nftables.source_filter import SourceFilter
from dmvpn_agent.kernel.uplink.settings import UplinkSettings
from dmvpn_agent.page.settings import PageSettings
from dmvpn_agent.policy.rules import Policy
from dmvpn_agent.renewal.settings import RenewalSettings
from dmvpn_agent.runtime.endpoint import Endpoint
from dmvpn_agent.runtime.http_access import HttpAccess
from dmvpn_agent.runtime.log_settings import Log
from dmvpn_agent.view.settings import PeersSettings
from dmvpn_agent.x509.certificate import Role
from dmvpn_agent.x509.settings import TrustFiles


@dataclass(frozen=True, slots=True)
class Config:
    """A whole, valid configuration.

    ``tunnels``: the tunnel interfaces, each with the profile that nhrpd requests from charon for it: the name of a
    connection and of its child in swanctl.conf. ``links``: what ``[tunnel.NAME]`` wants of each of them. ``bgp``,
    ``redirect``, ``source_filter``, ``guard`` and ``multicast`` are ``None`` if the agent does not manage them.
    ``firewall`` has the redirect and multicast rules; ``auto`` was replaced by what this node has.
    """

    role: Role
    state_directory: Path
    control_socket: Path
    log: Log
    tunnels: Mapping[str, str]
    event_socket: Path
    ike: Ike
    policy: Policy
    trust_files: TrustFiles
    crl: CrlSettings
    renewal: RenewalSettings
    frr: Frr
    bgp: BgpSettings | None
    firewall: Backend
    redirect: RedirectRule | None
    source_filter: SourceFilter | None
    guard: GreGuard | None
    clamps_mss: bool
    multicast: MulticastRule | None
    links: Mapping[str, TunnelSettings]
    uplink: UplinkSettings | None
    metrics: Endpoint | None
    metrics_access: HttpAccess
    bridge: Bridge
    peers: PeersSettings
    page: PageSettings

    @property
    def interfaces(self) -> tuple[str, ...]:
        """Return the tunnel interfaces, in the order of the file."""
        return tuple(self.tunnels)

    @property
    def profiles(self) -> frozenset[str]:
        """Return the names of charon's connections that belong to the DMVPN; two interfaces may share one."""
        return frozenset(self.tunnels.values())

    @property
    def manages_bgp(self) -> bool:
        """Tell whether the agent keeps BGP neighbors and filters."""
        return self.bgp is not None

    @property
    def keeps_redirect(self) -> bool:
        """Tell whether the agent keeps the redirect rule."""
        return self.redirect is not None

    @property
    def chain(self) -> ChainSettings:
        """Return the settings of the agent's chain of iptables."""
        if self.firewall is not Backend.IPTABLES:
            return ChainSettings()
        versions = frozenset[int]().union(*self.policy.ip_versions.values())
        return ChainSettings(self.redirect, self.multicast, tuple(sorted(versions)))

    @property
    def table(self) -> TableSettings:
        """Return the settings of the agent's nftables table."""
        return TableSettings(
            self.interfaces,
            None if self.firewall is Backend.IPTABLES else self.redirect,
            self.source_filter,
            self.policy.groups if self.policy.groups.in_force else None,
            self.guard,
            self.clamps_mss,
            None if self.firewall is Backend.IPTABLES else self.multicast,
        )
