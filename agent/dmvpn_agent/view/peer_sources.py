"""Reads from the agent's components what they know of peers. Nothing here waits, and no daemon is asked."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from dmvpn_agent.addresses import Address, Network
from dmvpn_agent.admission.bindings import BindingWatch
from dmvpn_agent.admission.denial_table import DenialTable
from dmvpn_agent.admission.peers import Peers
from dmvpn_agent.bgp.reconciler import Reconciler
from dmvpn_agent.charon.watch import CharonWatch
from dmvpn_agent.runtime.clocks import Clocks
from dmvpn_agent.view.settings import PeersSettings
from dmvpn_agent.view.sources import BgpView, KnownPeer, Member, PeerSa, Sources
from dmvpn_agent.view.track import Track


@dataclass(slots=True)
class PeerSources:
    """The components that know something of peers; ``reconciler`` is ``None`` if the agent runs no BGP.

    ``shortcuts`` returns the networks that nhrpd reaches by a shortcut, by the protocol address that they lead to.
    """

    peers: Peers
    denials: DenialTable
    charon: CharonWatch
    bindings: BindingWatch
    reconciler: Reconciler | None
    clocks: Clocks
    tunnels: Mapping[str, str]
    shortcuts: Callable[[], Mapping[Address, tuple[Network, ...]]]

    def read(
        self,
        settings: PeersSettings,
        known: tuple[KnownPeer, ...],
        names: Mapping[str, str],
        tracks: Mapping[str, Track],
    ) -> Sources:
        """Return what is known now, as values that do not change."""
        charon = self.charon
        return Sources(
            now=self.clocks.now(),
            tunnels=self.tunnels,
            members=tuple(self._members()),
            denials=tuple(self.denials),
            sas=tuple(self._sas()) if charon.connected else None,
            cache=None if self.bindings.trouble or self.bindings.last_read is None else self.bindings.cache,
            bgp=self._bgp(),
            alerts=charon.last_alerts.by_address(),
            traffic=charon.totals.traffic(),
            sa_events=charon.totals.events(),
            shortcuts=self.shortcuts(),
            known=known,
            expected=settings.expected,
            learn=settings.learn,
            names=names,
            tracks=tracks,
        )

    def basis(self) -> tuple[object, ...]:
        """Return what the sources have read: equal while it would be joined to the same."""
        charon, reconciler = self.charon, self.reconciler
        snapshot = reconciler.snapshot if reconciler and reconciler.bgpd_readable else None
        return (
            self.peers.version,
            self.denials.version,
            charon.ike_sas if charon.connected else None,
            charon.last_alerts.version,
            None if self.bindings.trouble or self.bindings.last_read is None else self.bindings.cache,
            snapshot.sessions if snapshot else None,
            self.shortcuts(),
        )

    def _members(self) -> Iterator[Member]:
        for member in self.peers.memberships():
            since = member.absent_since
            yield Member(member.request, member.peer, None if since is None else self.clocks.when(since))

    def _sas(self) -> Iterator[PeerSa]:
        profiles = frozenset(self.tunnels.values())
        for sa in self.charon.ike_sas:
            if sa.name in profiles:
                yield PeerSa(sa, self.charon.certificate_of(sa) if sa.established else None)

    def _bgp(self) -> BgpView | None:
        reconciler = self.reconciler
        if reconciler is None:
            return None
        snapshot = reconciler.snapshot if reconciler.bgpd_readable else None
        sessions = snapshot.sessions if snapshot else None
        return BgpView(sessions, reconciler.neighbor_bindings(), reconciler.drops_prefixes_of())
