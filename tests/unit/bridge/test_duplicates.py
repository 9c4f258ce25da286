"""Which IKE_SAs are duplicates, and when they are ended."""

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmvpn_agent.bridge import metrics
from dmvpn_agent.bridge.duplicate_terminator import SETTLING, SETTLING_FOR_PEER, DuplicateTerminator
from dmvpn_agent.bridge.duplicates import duplicates
from dmvpn_agent.charon.sa import ChildSa, IkeSa
from dmvpn_agent.charon.session import CommandFailed
from dmvpn_agent.runtime.telemetry import Telemetry

ONE, OTHER = ip_address("203.0.113.1"), ip_address("203.0.113.2")


def _sa(number: int, spi: str, *, initiator: bool = True, **changes: Any) -> IkeSa:
    sa = IkeSa(number, "dmvpn", "ESTABLISHED", ONE, OTHER, 500, "CN=one", "CN=other", spi, spi[::-1],
               (ChildSa(number, "dmvpn", "INSTALLED"),), initiator=initiator)  # fmt: skip
    return replace(sa, **changes)


def _seen_by_peer(sa: IkeSa) -> IkeSa:
    return replace(
        sa, unique_id=sa.unique_id + 100, local_host=sa.remote_host, remote_host=sa.local_host, local_id=sa.remote_id,
        remote_id=sa.local_id, initiator=not sa.initiator,
    )  # fmt: skip


class Session:
    """A session with charon; ``gone``: charon finds no IKE_SA to end."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self.gone = False

    async def request(self, command: str, message: Any) -> Any:
        assert (command, message["timeout"]) == ("terminate", "-1")
        self.ended.append(message["ike-id"])
        if self.gone:
            raise CommandFailed("no matching SAs to terminate found")
        return {}


@given(
    st.lists(
        st.tuples(st.text("0123456789abcdef", min_size=16, max_size=16), st.booleans()), unique_by=lambda x: x[0]
    )
)
def test_both_nodes_agree_on_the_duplicates_and_each_is_ended_by_one(several: list[tuple[str, bool]]) -> None:
    """Of any number of IKE_SAs one stays, and exactly one node began each other."""
    here = [_sa(number, spi, initiator=initiator) for number, (spi, initiator) in enumerate(several)]
    there = [_seen_by_peer(sa) for sa in reversed(here)]
    ours, theirs = ([sa for sa, _ in duplicates(sas)] for sas in (here, there))
    assert {sa.spis for sa in ours} == {sa.spis for sa in theirs}
    assert len(ours) == max(0, len(here) - 1)
    ended = [sa.spis for sa in (*ours, *theirs) if sa.initiator]
    assert sorted(ended) == sorted(sa.spis for sa in ours)


def test_only_ike_sas_with_the_same_peer_are_duplicates() -> None:
    """Not with another address, port, identity or connection, and not without traffic."""
    one = _sa(1, "aa")
    for changes in (
        {"remote_host": ONE}, {"local_host": OTHER}, {"remote_port": 4500}, {"remote_id": "CN=third"},
        {"local_id": "CN=third"}, {"name": "office"}, {"state": "CONNECTING"}, {"state": "DELETING"},
        {"children": ()}, {"children": (ChildSa(9, "dmvpn", "REKEYED"),)},
    ):  # fmt: skip
        assert duplicates([one, _sa(2, "bb", **changes)]) == []


async def test_a_duplicate_is_ended_after_the_settling_time(telemetry: Telemetry) -> None:
    """Again if it still exists; if charon has ended it already, that is counted as well."""
    now = 0.0
    session = Session()
    terminator = DuplicateTerminator({"dmvpn"}, telemetry, lambda: now)
    sas = [_sa(1, "aa", initiator=False), _sa(3, "cc")]

    async def check(at: float) -> list[str]:
        nonlocal now
        now = at
        await terminator.check(session, sas)  # type: ignore[arg-type]
        return session.ended

    assert await check(0) == []
    assert await check(SETTLING - 1) == []
    assert await check(SETTLING) == ["3"]
    assert await check(SETTLING + 1) == ["3"]
    session.gone = True
    assert await check(2 * SETTLING) == ["3", "3"]
    assert telemetry.value(metrics.BRIDGE_SURPLUS, "gone") == 1


@pytest.mark.parametrize(("initiator", "ended"), [(True, ["1"]), (False, [])])
async def test_if_the_peer_does_not_end_its_duplicate_this_node_ends_its_own_ike_sa(
    telemetry: Telemetry, initiator: bool, ended: list[str]
) -> None:
    """The peer may not know it: its charon was killed. This node never ends an IKE_SA that the peer began."""
    now = 0.0
    session = Session()
    terminator = DuplicateTerminator({"dmvpn"}, telemetry, lambda: now)
    sas = [_sa(1, "aa", initiator=initiator), _sa(2, "bb", initiator=False)]
    for now in (0.0, SETTLING_FOR_PEER - 1):  # noqa: B007  the clock reads it
        await terminator.check(session, sas)  # type: ignore[arg-type]
    assert session.ended == []
    now = SETTLING_FOR_PEER
    await terminator.check(session, sas)  # type: ignore[arg-type]
    assert session.ended == ended


async def test_the_settling_time_starts_again_if_the_duplicate_was_gone(telemetry: Telemetry) -> None:
    """As in a reauthentication."""
    now = 0.0
    session = Session()
    terminator = DuplicateTerminator({"dmvpn"}, telemetry, lambda: now)
    two = [_sa(1, "aa"), _sa(2, "bb")]
    for now, sas in ((0.0, two), (9.0, two[1:]), (10.0, two), (19.0, two)):  # noqa: B007  the clock reads it
        await terminator.check(session, sas)  # type: ignore[arg-type]
    assert session.ended == []


async def test_other_connections_are_ignored(telemetry: Telemetry) -> None:
    """They belong to no profile."""
    now = 0.0
    session = Session()
    terminator = DuplicateTerminator({"office"}, telemetry, lambda: now)
    for now in (0.0, 1000.0):  # noqa: B007  the clock reads it
        await terminator.check(session, [_sa(1, "aa"), _sa(2, "bb")])  # type: ignore[arg-type]
    assert session.ended == []
