"""The peers that were accepted once: shown as absent until an operator forgets them. Kept across restarts."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from ipaddress import ip_address

import structlog

from dmvpn_agent.policy.peer import PeerKind
from dmvpn_agent.runtime.sqlite_file import Row, Table
from dmvpn_agent.runtime.store import Store
from dmvpn_agent.runtime.unreadable import ItemSource
from dmvpn_agent.view.peer import JoinedPeer
from dmvpn_agent.view.sources import KnownPeer
from dmvpn_agent.view.stage import Stage
from dmvpn_agent.view.track import Track

log = structlog.get_logger()

#: More are not learned: each is a row in memory and a series.
LIMIT = 10_000
#: Characters of a key; a longer one, of an IKE identity, is not learned.
LONGEST_KEY = 1000
#: How old the stored time at which a peer was last up may be.
ACCURACY = timedelta(minutes=10)


def _row(_: str, peer: KnownPeer) -> Row:
    track = peer.track
    return (
        peer.key,
        peer.name,
        peer.interface,
        str(peer.kind),
        str(peer.protocol_address),
        str(peer.nbma_address),
        peer.subject[:1000],
        _text(peer.not_after),
        str(track.stage or ""),
        _text(track.since),
        _text(track.last_seen),
    )


def _peer(row: Row) -> tuple[str, KnownPeer]:
    """Return the key and peer of a row. Raises ``ValueError``."""
    key, name, interface, kind, protocol, nbma, subject, not_after, stage, since, last_seen = map(str, row)
    track = Track(Stage(stage) if stage else None, _time(since), _time(last_seen))
    return key, KnownPeer(
        key, name, interface, PeerKind(kind), ip_address(protocol), ip_address(nbma), subject, _time(not_after), track
    )


def _text(moment: datetime | None) -> str:
    return moment.isoformat() if moment else ""


def _time(text: str) -> datetime | None:
    moment = datetime.fromisoformat(text) if text else None
    if moment is not None and moment.tzinfo is None:
        raise ValueError(f"{text!r:.40} has no time zone")
    return moment


class KnownPeers:
    """The known peers by key. Shortcut peers come and go by design, and are not learned."""

    TABLE = Table(
        "known_peers",
        {
            "key": str,
            "name": str,
            "interface": str,
            "kind": str,
            "protocol_address": str,
            "nbma_address": str,
            "subject": str,
            "not_after": str,
            "stage": str,
            "since": str,
            "last_seen": str,
        },
        ItemSource.KNOWN_PEER,
        _row,
        _peer,
    )

    def __init__(self, store: Store[str, KnownPeer]) -> None:
        self._store = store
        self._peers: dict[str, KnownPeer] = {}
        self._full = False

    def open(self) -> None:
        """Read the stored peers."""
        self._store.open()
        self._peers = dict(self._store.load())

    def close(self) -> None:
        """Write what is not written."""
        self._store.close()

    def all(self) -> tuple[KnownPeer, ...]:
        """Return all known peers."""
        return tuple(self._peers.values())

    def update(self, joined: Iterable[JoinedPeer], *, learn: bool) -> None:
        """Learn the accepted peers among these, and note what changed of those that are known."""
        for peer in joined:
            before = self._peers.get(peer.key)
            if before is None and not (learn and peer.accepted and peer.kind in {PeerKind.HUB, PeerKind.SPOKE}):
                continue
            if before is None and self._is_full():
                continue
            if (now := _known(peer, before)) != before and len(peer.key) <= LONGEST_KEY:
                self._peers[peer.key] = now
                self._store.save(now.key, now)

    def forget(self, key: str) -> bool:
        """Forget a peer; return whether it was known."""
        self._store.remove(key)
        return self._peers.pop(key, None) is not None

    def _is_full(self) -> bool:
        if len(self._peers) < LIMIT:
            self._full = False
            return False
        if not self._full:
            log.warning("known_peers_full", limit=LIMIT, consequence="new peers are not shown while they are absent",
                        do="`dmvpn-agent forget` those that will not return, or set peers.learn = false")  # fmt: skip
        self._full = True
        return True


def _known(peer: JoinedPeer, before: KnownPeer | None) -> KnownPeer:
    """Return what is known of a peer now. What was accepted stays while a request is denied, or nothing is there.

    The time at which it was last up changes at every look, so it is exact to ``ACCURACY`` while the peer is up.
    """
    track = peer.track
    if before and peer.up and track.last_seen and before.track.last_seen:
        recent = track.last_seen - before.track.last_seen < ACCURACY
        track = replace(track, last_seen=before.track.last_seen) if recent else track
    if before is not None and not peer.accepted:
        return replace(before, track=track)
    first = peer.bindings[0]
    return KnownPeer(
        key=peer.key,
        name=peer.name,
        interface=peer.interface,
        kind=peer.kind or PeerKind.SPOKE,
        protocol_address=first.protocol_address,
        nbma_address=first.nbma_address,
        subject=peer.subject,
        not_after=peer.not_after,
        track=track,
    )
