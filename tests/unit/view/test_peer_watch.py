"""The joined view over time: what is learned, what moved, and how a peer is found."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dmvpn_agent.policy.peer import PeerKind
from dmvpn_agent.runtime.store import Store
from dmvpn_agent.view import peer_watch
from dmvpn_agent.view.join import join
from dmvpn_agent.view.known_peers import KnownPeers, _peer, _row
from dmvpn_agent.view.peer import Expectation, JoinedPeer
from dmvpn_agent.view.peer_watch import PeerWatch
from dmvpn_agent.view.settings import ExpectedPeer, PeersSettings
from dmvpn_agent.view.sources import KnownPeer, Sources
from dmvpn_agent.view.stage import Stage
from dmvpn_agent.view.track import Track
from factories import NOW, YEAR
from fakes.waiting import running, until
from joining import denial, identity, sources


class FakeSources:
    """Sources that a test sets."""

    def __init__(self) -> None:
        self.found = sources()
        self.reads = self.comparisons = 0

    def basis(self) -> tuple[object, ...]:
        self.comparisons += 1
        return (self.found,)

    def read(self, settings: PeersSettings, known: Any, names: Any, tracks: Any) -> Sources:
        self.reads += 1
        return replace(
            self.found, expected=settings.expected, learn=settings.learn, known=known, names=names, tracks=tracks
        )


def _known(path: Path) -> KnownPeers:
    known = KnownPeers(Store(path / "known.sqlite", KnownPeers.TABLE))
    known.open()
    return known


class Watched:
    """A watch over fake sources, with a file of known peers."""

    def __init__(self, path: Path, settings: PeersSettings = PeersSettings()) -> None:  # noqa: B008  frozen
        self.sources = FakeSources()
        self.known = _known(path)
        self.moves: list[tuple[str, Stage | None, Stage]] = []
        self.watch = PeerWatch(self.sources, self.known, settings, self._moved)  # type: ignore[arg-type]

    def _moved(self, peer: JoinedPeer, before: Stage | None) -> None:
        self.moves.append((peer.name, before, peer.stage))

    async def peers(self, found: Sources) -> dict[str, JoinedPeer]:
        self.sources.found = found
        return {peer.name: peer for peer in await self.watch.refresh()}


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


async def test_a_peer_that_was_accepted_is_shown_as_absent(watched: Watched) -> None:
    """Until an operator forgets it."""
    await watched.peers(sources(1))
    peers = await watched.peers(sources(now=NOW + YEAR))
    assert (peers["spoke1"].stage, peers["spoke1"].expected) == (Stage.NO_IKE, Expectation.LEARNED)
    assert (peers["spoke1"].since, peers["spoke1"].last_seen, peers["spoke1"].flaps) == (NOW + YEAR, NOW, 1)
    assert watched.watch.forget(peers["spoke1"])
    assert await watched.peers(sources()) == {}


async def test_what_was_learned_survives_a_restart(watched: Watched, tmp_path: Path) -> None:
    """With the stage, and since when."""
    await watched.peers(sources(1))
    await watched.peers(sources(now=NOW + YEAR))
    watched.known.close()
    again = Watched(tmp_path)
    peers = await again.peers(sources(now=NOW + 2 * YEAR))
    assert (peers["spoke1"].since, peers["spoke1"].last_seen) == (NOW + YEAR, NOW)


@pytest.mark.parametrize("found", [sources(denials=(denial(1),)), replace(sources(1), members=())])
async def test_only_accepted_peers_are_learned(watched: Watched, found: Sources) -> None:
    """Anybody can be denied, or have an IKE_SA."""
    assert len(await watched.peers(found)) == 1
    assert watched.known.all() == ()


async def test_shortcut_peers_are_not_learned(watched: Watched) -> None:
    """They come and go by design."""
    found = sources(1)
    (one,) = found.members
    await watched.peers(replace(found, members=(replace(one, peer=replace(one.peer, kind=PeerKind.SHORTCUT)),)))
    assert watched.known.all() == ()


async def test_learning_can_be_switched_off(tmp_path: Path) -> None:
    """Then only configured peers are shown while they are absent."""
    watched = Watched(tmp_path, PeersSettings((ExpectedPeer("spoke2"),), learn=False))
    await watched.peers(sources(1))
    assert set(await watched.peers(sources())) == {"spoke2"}


async def test_a_denied_request_does_not_change_what_is_known(watched: Watched) -> None:
    """Only its stage."""
    await watched.peers(sources(1))
    (before,) = watched.known.all()
    await watched.peers(sources(denials=(denial(1),)))
    (now,) = watched.known.all()
    assert now.track.stage is Stage.DENIED
    assert replace(now, track=before.track) == before


async def test_each_move_is_reported_once(watched: Watched) -> None:
    """Not that of a daemon that cannot be read."""
    for found in (sources(1), sources(1), sources(1, sas=None), sources(1), sources(1, sas=())):
        await watched.peers(found)
    assert watched.moves == [("spoke1", None, Stage.UP), ("spoke1", Stage.UP, Stage.NO_IKE)]


@pytest.mark.parametrize("word", ["spoke2", "10.255.0.2", "203.0.113.2", identity(2)])
async def test_a_peer_is_found_by_name_address_or_certificate(watched: Watched, word: str) -> None:
    """Each of its own."""
    await watched.peers(sources(1, 2))
    assert [peer.name for peer in watched.watch.find(word)] == ["spoke2"]


async def test_the_fingerprint_names_a_peer(watched: Watched) -> None:
    """As ``explain`` prints it."""
    peers = await watched.peers(sources(1, 2))
    assert [peer.name for peer in watched.watch.find(peers["spoke1"].fingerprint)] == ["spoke1"]
    assert watched.watch.find("nobody") == ()


def test_a_damaged_row_is_skipped(tmp_path: Path) -> None:
    """The others are known."""
    known = _known(tmp_path)
    (up,) = join(sources(1))
    known.update([up], learn=True)
    known.close()
    row = ("x@gre1", "x", "gre1", "spoke", "10.255.0", "203.0.113.7", "", "", "", "", "")
    with closing(sqlite3.connect(tmp_path / "known.sqlite")) as file, file:
        KnownPeers.TABLE.write(file, row)
    assert [peer.name for peer in _known(tmp_path).all()] == ["spoke1"]


def test_the_time_at_which_a_peer_was_last_up_is_not_written_at_every_look(tmp_path: Path) -> None:
    """A thousand peers would be a thousand rows every few seconds."""
    known = _known(tmp_path)
    (up,) = join(sources(1))
    known.update([up], learn=True)
    before = known.all()
    known.update([replace(up, track=replace(up.track, last_seen=NOW.replace(second=9)))], learn=True)
    assert known.all() == before
    known.update([replace(up, track=replace(up.track, last_seen=NOW + YEAR))], learn=True)
    assert known.all() != before


def test_the_number_of_known_peers_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are known stay."""
    monkeypatch.setattr("dmvpn_agent.view.known_peers.LIMIT", 1)
    known = _known(tmp_path)
    known.update(join(sources(1, 2, 3)), learn=True)
    assert [peer.name for peer in known.all()] == ["spoke1"]


def test_a_known_peer_has_the_fields_of_its_row() -> None:
    """A row is read back as it was written."""
    address = sources(1).members[0].peer.protocol_address
    peer = KnownPeer("k", "n", "gre1", PeerKind.HUB, address, address, "CN=x", None, Track())
    assert _peer(_row("k", peer)) == ("k", peer)


async def test_a_change_in_a_source_is_shown_soon(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing has to trigger it; the same again is not joined."""
    monkeypatch.setattr(peer_watch, "CHECK_INTERVAL", 0.01)
    watched.sources.found = sources(1)
    async with running(watched.watch.run()):
        await until(lambda: watched.watch.current)
        first, watched.sources.found = watched.watch.current, sources(1)
        await until(lambda: watched.sources.comparisons > 5)
        assert watched.watch.current is first
        watched.sources.found = sources(1, sas=())
        await until(lambda: watched.watch.current is not first)
    assert watched.sources.reads == 2
