"""Keeps the joined view of all peers: made again after changes, and read by everything that shows peers."""

import asyncio
from collections.abc import Callable, Sequence

from dmvpn_agent.runtime.debounced_event import DebouncedEvent
from dmvpn_agent.view.join import join
from dmvpn_agent.view.known_peers import KnownPeers
from dmvpn_agent.view.peer import JoinedPeer
from dmvpn_agent.view.peer_sources import PeerSources
from dmvpn_agent.view.settings import PeersSettings
from dmvpn_agent.view.stage import Stage

#: Seconds between two looks if nothing has changed. With a thousand peers each takes 40 ms of a thread.
INTERVAL = 60.0
#: Seconds until the sources are compared with what was joined: that takes no time.
CHECK_INTERVAL = 1.0
#: Seconds that changes wait for others, so that a thousand peers that come at once cost few looks.
COALESCE = 0.5

#: Called for each peer that came to another stage, with the stage before: ``None`` for a new peer.
Moved = Callable[[JoinedPeer, Stage | None], None]


def _ignore(_: JoinedPeer, __: Stage | None) -> None:
    pass


class PeerWatch:
    """``current``: the peers as last joined, ordered by name; a new tuple each time, so any thread may read it."""

    def __init__(
        self, sources: PeerSources, known: KnownPeers, settings: PeersSettings, moved: Moved = _ignore
    ) -> None:
        self._sources = sources
        self._known = known
        self._settings = settings
        self._moved = moved
        self._due = DebouncedEvent()
        self._one_at_a_time = asyncio.Lock()
        self.current: tuple[JoinedPeer, ...] = ()
        self._names_at: dict[str, str] | None = None

    async def run(self) -> None:
        """Join the peers until cancelled."""
        while True:
            basis = self._sources.basis()
            await self.refresh()
            await self._wait_for_change(basis)

    async def _wait_for_change(self, joined: Sequence[object]) -> None:
        """Return after a trigger, if a source no longer equals what was joined, or after ``INTERVAL`` seconds."""
        for _ in range(round(INTERVAL / CHECK_INTERVAL)):
            if await self._due.wait(within=CHECK_INTERVAL, then=COALESCE):
                return
            basis = self._sources.basis()
            if basis != joined:
                return
            joined = basis  # equal values of a later read: the next comparison finds them identical

    def trigger(self) -> None:
        """Join the peers again soon."""
        self._due.set()

    def reload(self, settings: PeersSettings) -> None:
        """Put other settings in force."""
        self._settings = settings
        self.trigger()

    async def refresh(self) -> tuple[JoinedPeer, ...]:
        """Join the peers now and return them."""
        async with self._one_at_a_time:
            return await self._refresh()

    async def _refresh(self) -> tuple[JoinedPeer, ...]:
        before = self.current
        sources = self._sources.read(
            self._settings,
            self._known.all(),
            {peer.key: peer.name for peer in before},
            {peer.key: peer.track for peer in before},
        )
        # A thread, because a thousand peers take long: the agent answers nhrpd in the meantime.
        joined = await asyncio.to_thread(join, sources)
        self._known.update(joined, learn=self._settings.learn)
        former = {peer.key: peer.track.stage for peer in sources.known} | {
            peer.key: peer.track.stage for peer in before
        }
        self.current, self._names_at = joined, None
        for peer in joined:
            if peer.since == sources.now and peer.stage is not former.get(peer.key):
                self._moved(peer, former.get(peer.key))
        return joined

    def find(self, word: str) -> tuple[JoinedPeer, ...]:
        """Return the peers with this name, address, subject or certificate fingerprint; exact matches only."""
        named = tuple(peer for peer in self.current if peer.name == word)
        return named or tuple(peer for peer in self.current if word in _words(peer))

    def name_at(self, address: str) -> str:
        """Return the name of the peer at a protocol or NBMA address; empty if none is known there."""
        if self._names_at is None:
            nbma = {str(peer.nbma_address): peer.name for peer in self.current}
            self._names_at = nbma | {str(one): peer.name for peer in self.current for one in peer.protocol_addresses}
        return self._names_at.get(address, "")

    def forget(self, peer: JoinedPeer) -> bool:
        """Forget a peer that was learned; return whether it was."""
        forgotten = self._known.forget(peer.key)
        self.trigger()
        return forgotten


def _words(peer: JoinedPeer) -> set[str]:
    addresses = {str(address) for address in (*peer.protocol_addresses, peer.nbma_address) if address}
    return addresses | {peer.subject, peer.fingerprint} | {sa.remote_id for sa in peer.ike_sas} - {""}
