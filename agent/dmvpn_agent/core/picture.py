"""What nhrpd believes of the circuits, and how that is brought in step with what charon shows.

A CHILD_SA is taken for gone only on evidence: charon said so, lists it in a state without traffic, or did not list it
in two looks in a row. One look is not enough: while an IKE_SA is rekeyed, ``list-sas`` passes from one IKE_SA to the
next, and can meet neither the old nor the new one with the CHILD_SA that moves between them.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from dmvpn_agent.core.model import Address
from dmvpn_agent.core.sa import Circuit, IkeSa, addresses, circuits, same_circuit


@dataclass(frozen=True, slots=True)
class Difference:
    """What nhrpd is to be told, in this order; ``doubtful``: another look is needed to know all of it."""

    installed: list[Circuit] = field(default_factory=list)
    destroying: list[Circuit] = field(default_factory=list)
    doubtful: bool = False


class Picture:
    """``told``: the circuits that nhrpd believes up, by the CHILD_SA's unique id. ``sas``: charon's, as last seen."""

    def __init__(self, told: Iterable[Circuit] = ()) -> None:
        self.told: dict[int, Circuit] = {child.unique_id: (sa, child) for sa, child in told}
        self.sas: dict[int, IkeSa] = {}
        self._missing: set[int] = set()

    def between(self, local: Address, remote: Address) -> Iterator[Circuit]:
        """Yield the circuits between two addresses."""
        return (circuit for circuit in self.told.values() if addresses(circuit[0]) == (local, remote))

    def look(self, sas: Mapping[int, IkeSa], ended: Collection[int]) -> Difference:
        """Take up what charon shows; ``ended`` are CHILD_SAs that it said are gone. New ones come first."""
        now = circuits(sas.values())
        shown = {child.unique_id for sa in sas.values() for child in sa.children}
        absent = self.told.keys() - now.keys()
        missing = {key for key in absent if key not in ended and key not in shown and key not in self._missing}
        difference = Difference(
            [circuit for key, circuit in now.items() if not self._told(key, circuit)],
            [circuit for key, circuit in self.told.items() if key in absent and key not in missing],
            doubtful=bool(missing),
        )
        self.sas = dict(sas)
        self.told = now | {key: self.told[key] for key in missing}
        self._missing = missing
        return difference

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
