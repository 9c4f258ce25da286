"""nhrpd sees an interruption exactly if charon had one, whatever happens while the bridge lists IKE_SAs.

A charon is simulated: what happens in it, the events that it raises, and listings that meet each IKE_SA at a moment
of their own. The bridge's part asks for the IKE_SAs of the events before, as ``Bridge`` does. Two listings in a row
count as proof, so each pair has at most one rekeying of an IKE_SA, and none during the second listing.
"""

from collections import Counter
from dataclasses import dataclass, field
from ipaddress import ip_address

from hypothesis import given, settings
from hypothesis import strategies as st

from dmvpn_agent.bridge.circuit_table import CircuitTable
from dmvpn_agent.charon.events import ChildChange
from dmvpn_agent.charon.sa import ChildSa, Circuit, IkeSa, Pair, addresses

HUB = ip_address("203.0.113.1")
PEERS = [(HUB, ip_address("203.0.113.2")), (HUB, ip_address("203.0.113.3"))]

Step = tuple[str, Pair, bool]
STEPS = st.tuples(
    st.sampled_from(["connect", "end", "rekey_child", "rekey_ike"]), st.sampled_from(PEERS), st.booleans()
)


@dataclass
class Charon:
    """``sas``: pair of addresses and CHILD_SAs of each IKE_SA.

    ``gaps``: how often a pair came back after it had none. ``generation``: the gaps before each CHILD_SA came.
    """

    sas: dict[int, tuple[Pair, tuple[int, ...]]] = field(default_factory=dict)
    events: list[ChildChange] = field(default_factory=list)
    touched: set[int] = field(default_factory=set)
    gaps: Counter[Pair] = field(default_factory=Counter)
    generation: dict[int, int] = field(default_factory=dict)
    arrivals: list[Circuit] = field(default_factory=list)
    _last: int = 0
    _had: set[Pair] = field(default_factory=set)
    _rekeyed: set[Pair] = field(default_factory=set)

    def step(self, what: str, pair: Pair, newest: bool) -> None:
        """Let something happen to the newest or the oldest IKE_SA of a pair."""
        numbers = [number for number, (other, _) in self.sas.items() if other == pair]
        number = numbers[-1 if newest else 0] if numbers else 0
        if what == "connect":
            self._come(pair, self._new(), self._new())
        elif number and what == "end":
            self._set(number, None)
            self._raise(number, pair, came=(), gone=self.children)
        elif number and what == "rekey_child":
            new = self._new()
            self._set(number, (pair, (new,)))
            self.generation[new] = self.gaps[pair]
            self._raise(number, pair, came=(new,), gone=self.children)
        elif number and what == "rekey_ike" and pair not in self._rekeyed:
            new = self._new()
            self._rekeyed.add(pair)
            self._set(number, None)
            self._set(new, (pair, self.children))
            self.touched |= {number, new}

    def _new(self) -> int:
        self._last += 1
        return self._last

    def _come(self, pair: Pair, number: int, child: int) -> None:
        carried = any(other == pair and children for other, children in self.sas.values())
        self.gaps[pair] += pair in self._had and not carried
        self._had.add(pair)
        self._set(number, (pair, (child,)))
        self.generation[child] = self.gaps[pair]
        self._raise(number, pair, came=(child,), gone=())
        sa = _sa(number, pair, (child,))
        self.arrivals.append((sa, sa.children[0]))

    def _set(self, number: int, state: tuple[Pair, tuple[int, ...]] | None) -> None:
        self.children = self.sas.pop(number, (None, ()))[1]
        if state:
            self.sas[number] = state

    def _raise(self, number: int, pair: Pair, came: tuple[int, ...], gone: tuple[int, ...]) -> None:
        self.touched.add(number)
        self.events += [ChildChange(key, True, pair) for key in came]
        self.events += [ChildChange(key, False, pair) for key in gone]


class Listener:
    """A bridge's part, and an nhrpd that follows the announcements."""

    def __init__(self, charon: Charon) -> None:
        self.charon = charon
        self.table = CircuitTable()
        self.nhrpd: dict[int, Pair] = {}
        self.gaps = Counter[Pair]()
        #: The CHILD_SAs announced since nhrpd last had none, by pair.
        self.stretch: dict[Pair, set[int]] = {}
        self.stale = set[int]()

    def happens(self, steps: list[Step], *, certified: bool) -> list[dict[int, IkeSa]]:
        """Let charon work; return what it would list after each step."""
        moments = [_listing(self.charon)]
        for step in steps:
            self.charon.step(*step)
            self.table.note(self.charon.events)
            self.stale |= self.charon.touched
            for circuit in self.charon.arrivals if certified else ():
                if self.table.announce_early(circuit):
                    self._installed(circuit)
            self.charon.events, self.charon.arrivals, self.charon.touched = [], [], set()
            moments.append(_listing(self.charon))
        return moments

    def refresh(self, draw: st.DataObject, most: int) -> None:
        """List as the bridge does, while at most so many steps happen."""
        stale, self.stale = self.stale, set()
        if self._update(stale or None, draw, st.lists(STEPS, max_size=most)):
            self._update(None, draw, st.lists(STEPS.filter(lambda step: step[0] != "rekey_ike"), max_size=most))

    def _update(self, of: set[int] | None, draw: st.DataObject, steps: st.SearchStrategy[list[Step]]) -> bool:
        moments = self.happens(draw.draw(steps), certified=draw.draw(st.booleans()))
        listed = {}
        for number in sorted({number for moment in moments for number in moment}):
            moment = moments[draw.draw(st.integers(0, len(moments) - 1))]
            if number in moment and (of is None or number in of):
                listed[number] = moment[number]
        announcements = self.table.update(listed, of)
        for circuit in announcements.interrupted:
            self._gone(circuit)
        for circuit in announcements.installed:
            self._installed(circuit)
        for circuit in announcements.destroyed:
            self._gone(circuit)
        return announcements.unconfirmed

    def _installed(self, circuit: Circuit) -> None:
        pair = addresses(circuit[0])
        if pair not in self.nhrpd.values():
            self.gaps[pair] += pair in self.stretch
            self.stretch[pair] = set()
        self.stretch[pair].add(circuit[1].unique_id)
        self.nhrpd[circuit[1].unique_id] = pair

    def _gone(self, circuit: Circuit) -> None:
        del self.nhrpd[circuit[1].unique_id]


@settings(max_examples=300)
@given(st.data(), st.integers(1, 4))
def test_nhrpd_sees_an_interruption_exactly_if_there_was_one(data: st.DataObject, rounds: int) -> None:
    """Several of a pair within two listings can be one for nhrpd. At the end it has what charon has."""
    charon = Charon()
    bridge = Listener(charon)
    for _ in range(rounds):
        bridge.happens(data.draw(st.lists(STEPS, max_size=4)), certified=data.draw(st.booleans()))
        bridge.refresh(data, 3)
        if data.draw(st.booleans()):
            for _ in range(2):
                bridge.refresh(data, 0)
            assert bridge.nhrpd == {child: pair for pair, children in charon.sas.values() for child in children}
            for pair in bridge.nhrpd.values():
                assert {charon.generation[child] for child in bridge.stretch[pair]} == {charon.gaps[pair]}
        assert all(bridge.gaps[pair] <= charon.gaps[pair] for pair in PEERS)


def _listing(charon: Charon) -> dict[int, IkeSa]:
    return {number: _sa(number, pair, children) for number, (pair, children) in charon.sas.items()}


def _sa(number: int, pair: Pair, children: tuple[int, ...]) -> IkeSa:
    installed = tuple(ChildSa(key, "dmvpn", "INSTALLED") for key in children)
    return IkeSa(number, "dmvpn", "ESTABLISHED", *pair, 500, "CN=hub", "CN=spoke", f"{number:x}", "0", installed)
