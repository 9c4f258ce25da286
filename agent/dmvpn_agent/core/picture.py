"""What nhrpd believes of the circuits, and how that is brought in step with what charon shows.

A CHILD_SA is taken for gone only on evidence: charon said so, lists it in a state without traffic, or did not list it
in two looks in a row. One look is not enough: while an IKE_SA is rekeyed, ``list-sas`` passes from one IKE_SA to the
next, and can meet neither the old nor the new one with the CHILD_SA that moves between them.

New circuits are told before old ones go, so that no rekeying leaves nhrpd without one; but where charon said that the
last circuit of a pair had ended before the next one came, nhrpd is told that, however fast the next one was.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from dmvpn_agent.core.model import Address
from dmvpn_agent.core.sa import Circuit, IkeSa, addresses, circuits, same_circuit


@dataclass(frozen=True, slots=True)
class ChildChange:
    """What charon said of a CHILD_SA: it came, or it is gone."""

    unique_id: int
    came: bool


@dataclass(frozen=True, slots=True)
class Difference:
    """What nhrpd is to be told, in this order; ``doubtful``: another look is needed to know all of it.

    ``lost`` were the last of their pair of addresses, and ended before others came.
    """

    lost: list[Circuit] = field(default_factory=list)
    installed: list[Circuit] = field(default_factory=list)
    destroying: list[Circuit] = field(default_factory=list)
    doubtful: bool = False


class Picture:
    """``told``: the circuits that nhrpd believes up, by the CHILD_SA's unique id. ``sas``: charon's, as last seen."""

    def __init__(self, told: Iterable[Circuit] = ()) -> None:
        self.told: dict[int, Circuit] = {child.unique_id: (sa, child) for sa, child in told}
        self.sas: dict[int, IkeSa] = {}
        self._missing: set[int] = set()
        self._ahead: Sequence[ChildChange] = ()

    def between(self, local: Address, remote: Address) -> Iterator[Circuit]:
        """Yield the circuits between two addresses."""
        return (circuit for circuit in self.told.values() if addresses(circuit[0]) == (local, remote))

    def look(self, sas: Mapping[int, IkeSa], changes: Sequence[ChildChange]) -> Difference:
        """Take up what charon shows; ``changes`` is all that it said since the last look, as it came.

        What it said may be ahead of what it showed: that is kept for the next look.
        """
        now = circuits(sas.values())
        new, changes = changes, (*self._ahead, *changes)
        self._ahead = _from_first_ahead(new, now)
        shown = {child.unique_id for sa in sas.values() for child in sa.children}
        ended = {change.unique_id for change in changes if not change.came}
        absent = self.told.keys() - now.keys()
        missing = {key for key in absent if key not in ended and key not in shown and key not in self._missing}
        lost = self._lost(now, changes) & (absent - missing)
        difference = Difference(
            [circuit for key, circuit in self.told.items() if key in lost],
            [circuit for key, circuit in now.items() if not self._told(key, circuit)],
            [circuit for key, circuit in self.told.items() if key in absent - missing - lost],
            doubtful=bool(missing),
        )
        self.sas = dict(sas)
        self.told = now | {key: self.told[key] for key in missing}
        self._missing = missing
        return difference

    def _lost(self, now: Mapping[int, Circuit], changes: Iterable[ChildChange]) -> set[int]:
        """Return those whose end left their pair of addresses without a circuit, going by what charon said."""
        pairs = {key: addresses(sa) for key, (sa, _) in self.told.items()}
        count = Counter(pairs.values())
        lost = set()
        for change in changes:
            key = change.unique_id
            if change.came and key in now and key not in pairs:
                pairs[key] = addresses(now[key][0])
                count[pairs[key]] += 1
            elif not change.came and (pair := pairs.pop(key, None)):
                count[pair] -= 1
                if not count[pair]:
                    lost.add(key)
        return lost

    def is_of_another_charon(self, sas: Iterable[IkeSa]) -> bool:
        """Tell whether these are not the same charon's: a CHILD_SA's number stands for something else altogether."""
        return any(
            key in self.told
            and addresses(self.told[key][0]) != addresses(circuit[0])
            and self.told[key][0].spis != circuit[0].spis
            for key, circuit in circuits(sas).items()
        )

    def _told(self, key: int, circuit: Circuit) -> bool:
        return key in self.told and same_circuit(self.told[key], circuit)


def _from_first_ahead(changes: Sequence[ChildChange], now: Mapping[int, Circuit]) -> Sequence[ChildChange]:
    """Return the changes from the first one on that a look does not show yet."""
    gone = {change.unique_id for change in changes if not change.came}
    for place, change in enumerate(changes):
        shown = change.unique_id in now
        if shown is not change.came and not (change.came and change.unique_id in gone):
            return changes[place:]
    return ()
