"""What nhrpd believes of the circuits, and how that is brought in step with what charon shows.

A CHILD_SA counts as gone only on evidence: charon said so, lists it in a state without traffic, or did not list it
in two looks in a row. One look is not enough: while an IKE_SA is rekeyed, ``list-sas`` passes from one IKE_SA to the
next, and can meet neither the old nor the new one with the CHILD_SA that moves between them.

New circuits are told before old ones go, so that no rekeying leaves nhrpd without one; but where charon said that the
last circuit of a pair had ended before the next one came, nhrpd is told that, however fast the next one was.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field

from dmvpn_agent.addresses import Address
from dmvpn_agent.charon.sa import Circuit, IkeSa, addresses, circuits, same_circuit
from dmvpn_agent.charon.sa_changes import ChildChange

Pair = tuple[Address, Address]


@dataclass(frozen=True, slots=True)
class Difference:
    """What nhrpd is to be told, in this order; ``doubtful``: another look is needed to know all of it.

    ``lost`` were the last of their pair of addresses, and ended before others came.
    """

    lost: list[Circuit] = field(default_factory=list)
    installed: list[Circuit] = field(default_factory=list)
    destroying: list[Circuit] = field(default_factory=list)
    doubtful: bool = False


class CircuitTable:
    """``announced``: the circuits that nhrpd believes up, by the CHILD_SA's unique id. ``sas``: charon's IKE_SAs.

    The work of a look is that of the IKE_SAs looked at, however many others there are.
    """

    def __init__(self, announced: Iterable[Circuit] = ()) -> None:
        self.announced: dict[int, Circuit] = {}
        self.sas: dict[int, IkeSa] = {}
        self._missing: set[int] = set()
        self._expected: set[int] = set()
        self._ahead: Sequence[ChildChange] = ()
        # All CHILD_SAs of ``sas``, and whether one of them is in two IKE_SAs: it is moving.
        self._shown: set[int] = set()
        self._moving = False
        # Those of ``announced`` by addresses, and where there are several.
        self._by_pair: dict[Pair, tuple[int, ...]] = {}
        self._duplicates: set[Pair] = set()
        for sa, child in announced:
            self._announce(child.unique_id, (sa, child))

    def between(self, local: Address, remote: Address) -> Iterator[Circuit]:
        """Yield the circuits between two addresses."""
        return (self.announced[key] for key in self._by_pair.get((local, remote), ()))

    def duplicates(self) -> list[IkeSa]:
        """Return the IKE_SAs with a circuit that has another one between the same addresses beside it."""
        numbers = {self.announced[key][0].unique_id for pair in self._duplicates for key in self._by_pair[pair]}
        return [self.sas[number] for number in numbers if number in self.sas]

    def announce_early(self, circuit: Circuit) -> bool:
        """Take up a circuit of which charon said that it came; return whether nhrpd can be told of it at once.

        That is so where nhrpd believes in none between these addresses, and was told of all that ended.
        """
        sa, child = circuit
        if child.unique_id in self.announced or addresses(sa) in self._by_pair or self._ahead or not child.installed:
            return False
        self._announce(child.unique_id, circuit)
        self._expected.add(child.unique_id)
        return True

    def update(
        self, sas: Mapping[int, IkeSa], changes: Sequence[ChildChange], of: Set[int] | None = None
    ) -> Difference:
        """Take up what charon shows; ``changes`` is all that it said since the last look, as it came.

        ``of``: the IKE_SAs looked at, of which ``sas`` are those that are there; ``None``: all were looked at.
        What charon said may be ahead of what it showed: that is kept for the next look.
        """
        before = self.sas if of is None else {key: self.sas[key] for key in of if key in self.sas}
        former, shown = _children(before.values()), _children(sas.values())
        if of is not None and (self._moving or (shown & self._shown) - former):
            others = {key: sa for key, sa in self.sas.items() if key not in of}
            return self.update({**others, **sas}, changes)
        now = circuits(sas.values())
        expected = {key for key in self._expected if of is None or self.announced[key][0].unique_id in of}
        looked_at = set(self.announced) if of is None else self.announced.keys() & (former | expected | self._missing)
        absent = looked_at - now.keys()
        new, changes = changes, (*self._ahead, *changes)
        spoken_of = {change.unique_id for change in changes}
        there = {key: self.announced[key] for key in (self.announced.keys() & spoken_of) - looked_at}
        there |= {key: now[key] for key in now.keys() & spoken_of}
        self._ahead = _from_first_ahead(new, there)
        ended = {change.unique_id for change in changes if not change.came}
        missing = {key for key in absent if key not in ended and key not in shown and key not in self._missing}
        lost = self._lost(there, changes) & (absent - missing)
        difference = Difference(
            [self.announced[key] for key in sorted(lost)],
            [circuit for key, circuit in now.items() if not self._is_announced(key, circuit)],
            [self.announced[key] for key in sorted(absent - missing - lost)],
            doubtful=bool(missing),
        )
        for key in absent - missing:
            self._withdraw(key)
        for key, circuit in now.items():
            self._announce(key, circuit)
        for key in tuple(before):
            del self.sas[key]
        self.sas |= sas
        self._shown -= former
        self._shown |= shown
        self._moving = len(shown) < sum(len(sa.children) for sa in sas.values())
        self._missing = missing
        self._expected -= expected
        return difference

    def _announce(self, key: int, circuit: Circuit) -> None:
        """Note that nhrpd believes in a circuit, as it is now."""
        pair = addresses(circuit[0])
        if key in self.announced and addresses(self.announced[key][0]) == pair:
            self.announced[key] = circuit
            return
        self._withdraw(key)
        self.announced[key] = circuit
        self._stand(pair, (*self._by_pair.get(pair, ()), key))

    def _withdraw(self, key: int) -> None:
        if circuit := self.announced.pop(key, None):
            pair = addresses(circuit[0])
            self._stand(pair, tuple(other for other in self._by_pair[pair] if other != key))

    def _stand(self, pair: Pair, keys: tuple[int, ...]) -> None:
        if keys:
            self._by_pair[pair] = keys
        else:
            del self._by_pair[pair]
        if len(keys) > 1:
            self._duplicates.add(pair)
        else:
            self._duplicates.discard(pair)

    def _lost(self, there: Mapping[int, Circuit], changes: Sequence[ChildChange]) -> set[int]:
        """Return those whose end left their pair of addresses without a circuit, going by what charon said.

        ``there``: what charon shows of those that it spoke of.
        """
        known = (change.unique_id for change in changes if change.unique_id in self.announced)
        pairs = {key: addresses(self.announced[key][0]) for key in known}
        count: dict[Pair, int] = {}
        lost = set()
        for change in changes:
            key = change.unique_id
            if change.came and key in there and key not in pairs:
                pair = pairs[key] = addresses(there[key][0])
                count[pair] = count.get(pair, len(self._by_pair.get(pair, ()))) + 1
            elif not change.came and (gone := pairs.pop(key, None)):
                count[gone] = count.get(gone, len(self._by_pair.get(gone, ()))) - 1
                if not count[gone]:
                    lost.add(key)
        return lost

    def is_of_another_charon(self, sas: Iterable[IkeSa]) -> bool:
        """Tell whether these are not the same charon's: a CHILD_SA's number stands for something else altogether."""
        return any(
            key in self.announced
            and addresses(self.announced[key][0]) != addresses(circuit[0])
            and self.announced[key][0].spis != circuit[0].spis
            for key, circuit in circuits(sas).items()
        )

    def _is_announced(self, key: int, circuit: Circuit) -> bool:
        return key in self.announced and same_circuit(self.announced[key], circuit)


def _children(sas: Iterable[IkeSa]) -> set[int]:
    return {child.unique_id for sa in sas for child in sa.children}


def _from_first_ahead(changes: Sequence[ChildChange], now: Mapping[int, Circuit]) -> Sequence[ChildChange]:
    """Return the changes from the first one on that a look does not show yet."""
    gone = {change.unique_id for change in changes if not change.came}
    for place, change in enumerate(changes):
        shown = change.unique_id in now
        if shown is not change.came and not (change.came and change.unique_id in gone):
            return changes[place:]
    return ()
