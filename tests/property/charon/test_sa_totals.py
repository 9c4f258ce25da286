"""Traffic across rekeyings, whichever lists and events show it."""

from dataclasses import dataclass, replace
from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from dmvpn_agent.addresses import Address
from dmvpn_agent.charon.events import SaEventKind
from dmvpn_agent.charon.sa import ChildSa, IkeSa, Traffic
from dmvpn_agent.charon.sa_totals import RETENTION, SaTotals

ADDRESSES: tuple[Address, ...] = (ip_address("203.0.113.2"), ip_address("203.0.113.3"))
CHILD = ChildSa(1, "dmvpn", "INSTALLED")
SA = IkeSa(1, "dmvpn", "ESTABLISHED", ip_address("203.0.113.1"), ADDRESSES[0], 500, "", "", "1", "2")
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ("carry", "carry", "list", "rekey", "rekey without event", "restart", "move", "late", "event")
        ),
        st.integers(0, 1),
        st.tuples(*[st.integers(0, 1000)] * 4),
    ),
    max_size=40,
)


@dataclass
class Node:
    """charon with one CHILD_SA to each of two peers; ``carried`` is the traffic since the first list."""

    def __post_init__(self) -> None:
        self.born = 0
        self.peers = [self._new(), self._new()]
        self.places = list(ADDRESSES)
        self.carried = Traffic()
        self.closed: list[IkeSa] = []

    def _new(self) -> ChildSa:
        self.born += 1
        return replace(CHILD, unique_id=1, spi_in=f"{self.born:08x}", spi_out="d")

    def carry(self, which: int, amount: Traffic) -> None:
        child = self.peers[which]
        self.peers[which] = replace(child, traffic=child.traffic.plus(amount))
        self.carried = self.carried.plus(amount)

    def close(self, which: int) -> IkeSa:
        """Replace the CHILD_SA; return the event with its last counts."""
        gone = self.shown(which)
        self.peers[which] = self._new()
        self.closed.append(gone)
        return gone

    def shown(self, which: int) -> IkeSa:
        return replace(SA, remote_host=self.places[which], children=(self.peers[which],))

    def all(self) -> list[IkeSa]:
        return [self.shown(0), self.shown(1)]


def _sum(totals: SaTotals) -> Traffic:
    whole = Traffic()
    for traffic in totals.traffic().values():
        whole = whole.plus(traffic)
    return whole


@given(STEPS, st.tuples(*[st.integers(0, 1000)] * 4))
def test_traffic_is_counted_once_and_never_decreases_and_is_complete_with_all_events(
    steps: list[tuple[str, int, tuple[int, int, int, int]]], before: tuple[int, int, int, int]
) -> None:
    """Lists, rekeyings with and without an event, late events, moved peers and restarts of charon, in any order."""
    node, totals, missed = Node(), SaTotals(), False
    node.carry(0, Traffic(*before))
    totals.update(node.all())
    node.carried = Traffic()
    for step, which, amount in steps:
        earlier = _sum(totals)
        match step:
            case "carry":
                node.carry(which, Traffic(*amount))
            case "list":
                totals.update(node.all())
            case "rekey":
                totals.add_event(SaEventKind.CHILD_REKEYED, node.close(which))
            case "rekey without event":
                node.close(which)
                missed = True
            case "restart":
                node.close(0)
                node.close(1)
                missed = True
            case "move":
                node.places[which] = ADDRESSES[1 - which]
            case "event":
                totals.add_event(SaEventKind.IKE_MOVED, node.shown(which))
            case "late" if node.closed:
                totals.add_event(SaEventKind.CHILD_CLOSED, node.closed[-1])
        now = _sum(totals)
        assert now == totals.all_traffic
        assert all(one >= other for one, other in zip(now, earlier, strict=True))
        assert all(one <= other for one, other in zip(now, node.carried, strict=True))
    totals.update(node.all())
    if not missed:
        assert _sum(totals) == node.carried


def test_child_sas_that_are_gone_are_forgotten() -> None:
    """A bounded number of them is remembered, and all that are present."""
    totals = SaTotals(remembered=2)
    here = [replace(SA, children=(replace(CHILD, spi_in=str(number), spi_out="d"),)) for number in range(10)]
    totals.update(here)
    assert len(totals._seen) == 10
    totals.update(here[8:])
    assert len(totals._seen) == 4


def test_a_peer_is_forgotten_ten_minutes_after_its_last_ike_sa() -> None:
    """What it carried stays in the totals of all; when it comes back, it counts from 0."""
    now = 0.0
    totals = SaTotals(lambda: now)
    totals.update([])
    sa = replace(SA, remote_id="CN=spoke1", children=(replace(CHILD, spi_in="1", traffic=Traffic(5, 1, 0, 0)),))
    peer = ("dmvpn", "CN=spoke1")
    totals.update([sa])
    totals.add_event(SaEventKind.IKE_CLOSED, sa)
    now = RETENTION
    totals.update([])
    assert totals.traffic() == {peer: Traffic(5, 1, 0, 0)}
    assert totals.events()[peer][SaEventKind.IKE_CLOSED] == 1
    assert totals.events()[peer][SaEventKind.IKE_REKEYED] == 0
    now += 1
    totals.update([])
    assert (totals.traffic(), totals.events()) == ({}, {})
    assert (totals.all_traffic, totals.all_events[SaEventKind.IKE_CLOSED]) == (Traffic(5, 1, 0, 0), 1)
    totals.update([sa])
    assert totals.traffic() == {peer: Traffic()}


def test_above_the_limit_peers_count_in_the_totals_of_all_only() -> None:
    """A flood of identities costs no memory."""
    totals = SaTotals(limit=2)
    totals.update([])
    shown = [
        replace(
            SA, remote_id=str(number), children=(replace(CHILD, spi_in=str(number), traffic=Traffic(1, 0, 0, 0)),)
        )
        for number in range(5)
    ]
    totals.update(shown)
    assert len(totals.traffic()) == 2
    assert totals.all_traffic.bytes_in == 5


def test_peers_behind_one_address_are_counted_apart() -> None:
    """By their identities."""
    totals = SaTotals()
    totals.update([])
    for name in ("a", "b"):
        child = replace(CHILD, spi_in=name, traffic=Traffic(7, 0, 0, 0))
        totals.update([replace(SA, remote_id=name, children=(child,))])
    assert totals.traffic() == {("dmvpn", "a"): Traffic(7, 0, 0, 0), ("dmvpn", "b"): Traffic(7, 0, 0, 0)}


def test_a_child_sa_that_is_not_installed_has_no_counts() -> None:
    """charon lists it without SPIs."""
    totals = SaTotals()
    totals.update([])
    totals.update([replace(SA, children=(replace(CHILD, traffic=Traffic(1, 1, 1, 1)),))])
    assert totals.traffic() == {("dmvpn", ""): Traffic()}
