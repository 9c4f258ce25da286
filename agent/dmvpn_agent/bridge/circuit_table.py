"""The circuits that the bridge has announced to nhrpd, kept in step with what charon lists.

A circuit is an installed CHILD_SA with its IKE_SA. nhrpd counts the circuits of each pair of addresses
(``nhrp_vc_ipsec_updown``). When the last one goes, it drops the peer and its bindings.

Invariant. After each ``update``, for the IKE_SAs that it covers:

1. Every circuit that charon lists is announced, with the addresses, identities and IKE_SA listed.
2. If an announced circuit is not listed, there is no evidence that it is gone, or the listing may lack the circuit
   that replaces it. ``unconfirmed`` is then set, and the caller lists all IKE_SAs at once: the second one decides.
3. While nhrpd works through the announcements, a pair that had a circuit before and has one after is without one only
   if charon's events say that it was, or if its circuit moved to other addresses.

Without 1 nhrpd has no tunnel for a peer, or terminates the wrong IKE_SA. Without 2 or 3 a rekeying costs a peer its
binding, or a peer that the agent disconnected looks as if it had been connected all the time.

A CHILD_SA is gone if
- an event said so (``child-updown`` without ``up``, or ``old`` of a ``child-rekey``), and no event before it waits
  for its listing;
- charon lists it in a state without traffic, or its IKE_SA as being deleted, and no CHILD_SA that an event reported
  waits for its listing;
- two listings in a row lack it. One listing proves nothing: while charon rekeys an IKE_SA, its CHILD_SAs move to the
  new one, and ``list-sas``, which goes from one IKE_SA to the next, can meet them in neither.

Order of announcements: first the interruptions (every circuit of a pair had ended before the next one came, going by
the order of charon's events), then new and changed circuits, then all other circuits that are gone.

Events and listings come by different ways, so an event can precede the listing that shows its effect. Such an event
keeps its place before later events until the next update.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field

from dmvpn_agent.addresses import Address
from dmvpn_agent.bridge.multi_index import MultiIndex
from dmvpn_agent.charon.events import ChildChange
from dmvpn_agent.charon.sa import Circuit, IkeSa, addresses, circuits, same_circuit

Pair = tuple[Address, Address]


@dataclass(frozen=True, slots=True)
class Announcements:
    """What to announce to nhrpd, in this order; ``unconfirmed``: list all IKE_SAs again before trusting the table.

    Circuits ``interrupted`` and ``destroyed`` go out as ``child-state-destroying``, ``installed`` as
    ``child-state-installed``.
    """

    interrupted: list[Circuit] = field(default_factory=list)
    installed: list[Circuit] = field(default_factory=list)
    destroyed: list[Circuit] = field(default_factory=list)
    unconfirmed: bool = False


class CircuitTable:
    """``announced``: the announced circuits by the CHILD_SA's unique id. ``sas``: charon's IKE_SAs as last listed.

    The work of an update grows with the IKE_SAs that it covers, not with all.
    """

    def __init__(self, announced: Iterable[Circuit] = ()) -> None:
        self.announced: dict[int, Circuit] = {}
        self.sas: dict[int, IkeSa] = {}
        self._by_pair = MultiIndex[Pair]()
        # A CHILD_SA's IKE_SA. It has two if a listing met it on both sides of a move; the last one listed counts.
        self._ike_sas_of = MultiIndex[int]()
        # Announced circuits that no listing has shown yet, and those that the last listing lacked.
        self._not_yet_listed: set[int] = set()
        self._unconfirmed: set[int] = set()
        self._early_events: Sequence[ChildChange] = ()
        for circuit in announced:
            self._announce_unlisted(circuit)

    def between(self, local: Address, remote: Address) -> Iterator[Circuit]:
        """Yield the announced circuits between two addresses."""
        return (self.announced[key] for key in self._by_pair.of((local, remote)))

    def duplicates(self) -> list[IkeSa]:
        """Return the IKE_SAs of all circuits that share their pair of addresses with another circuit."""
        numbers = {
            self.announced[key][0].unique_id for pair in self._by_pair.shared for key in self._by_pair.of(pair)
        }
        return [self.sas[number] for number in numbers if number in self.sas]

    def is_of_another_charon(self, sas: Iterable[IkeSa]) -> bool:
        """Tell whether another charon lists these: the unique id of an announced CHILD_SA is now another peer's."""
        return any(
            key in self.announced
            and addresses(self.announced[key][0]) != addresses(circuit[0])
            and self.announced[key][0].spis != circuit[0].spis
            for key, circuit in circuits(sas).items()
        )

    def announce_early(self, circuit: Circuit) -> bool:
        """Note a circuit that an event shows; return whether to announce it before a listing shows it.

        That is safe if no other circuit between its addresses is announced, and no event waits for a listing.
        """
        sa, child = circuit
        known = child.unique_id in self.announced or self._by_pair.of(addresses(sa))
        if known or self._early_events or not child.installed:
            return False
        self._announce_unlisted(circuit)
        return True

    def update(
        self, listed: Mapping[int, IkeSa], events: Sequence[ChildChange], of: Set[int] | None = None
    ) -> Announcements:
        """Take in a listing, and all events since the last one in their order; return what to announce.

        ``of``: the unique ids of the IKE_SAs that the bridge asked for, ``None`` for all; those in ``listed`` exist.
        """
        checked = self._replace(listed, of) | self._unconfirmed | self._unlisted(of)
        current = {key: circuit for key in sorted(checked) if (circuit := self._listed_circuit(key))}
        earlier, self._early_events = self._early_events, self._from_first_early(events, checked, current)
        events = (*earlier, *events)
        decided = events[: len(events) - len(self._early_events)]
        absent = (checked & self.announced.keys()) - current.keys()
        unconfirmed = self._without_evidence(absent, decided, incomplete=self._lacks_arrival(current))
        gone = absent - unconfirmed
        interrupted = self._interrupted(events, current) & gone
        announcements = Announcements(
            [self.announced[key] for key in sorted(interrupted)],
            [circuit for key, circuit in current.items() if not self._is_announced(key, circuit)],
            [self.announced[key] for key in sorted(gone - interrupted)],
            unconfirmed=bool(unconfirmed),
        )
        self._apply(gone, current)
        self._unconfirmed, self._not_yet_listed = unconfirmed, self._not_yet_listed - checked
        return announcements

    def _replace(self, listed: Mapping[int, IkeSa], of: Set[int] | None) -> set[int]:
        """Replace the IKE_SAs that the bridge asked for by those listed; return the CHILD_SAs of both."""
        replaced = self.sas.keys() if of is None else (of | listed.keys()) & self.sas.keys()
        children = set()
        for number in tuple(replaced):
            for child in self.sas.pop(number).children:
                self._ike_sas_of.remove(child.unique_id, number)
                children.add(child.unique_id)
        for number, sa in listed.items():
            self.sas[number] = sa
            for child in sa.children:
                self._ike_sas_of.add(child.unique_id, number)
                children.add(child.unique_id)
        return children

    def _unlisted(self, of: Set[int] | None) -> set[int]:
        """Return the announced circuits that no listing has shown yet, and that this one should show."""
        return {key for key in self._not_yet_listed if of is None or self.announced[key][0].unique_id in of}

    def _listed_circuit(self, key: int) -> Circuit | None:
        """Return the circuit as charon lists it, ``None`` if it lists none that carries traffic."""
        for number in reversed(self._ike_sas_of.of(key)):
            if circuit := circuits([self.sas[number]]).get(key):
                return circuit
        return None

    def _from_first_early(
        self, events: Sequence[ChildChange], checked: Set[int], current: Mapping[int, Circuit]
    ) -> Sequence[ChildChange]:
        """Return the events from the first one on whose effect is not listed yet."""
        ended = {event.unique_id for event in events if not event.came}
        for place, event in enumerate(events):
            key = event.unique_id
            up = key in (current if key in checked else self.announced)
            if (event.came and not up and key not in ended) or (not event.came and up):
                return events[place:]
        return ()

    def _lacks_arrival(self, current: Mapping[int, Circuit]) -> bool:
        """Tell whether an event reported a CHILD_SA that the listing does not show."""
        ended = {event.unique_id for event in self._early_events if not event.came}
        known = (self.announced, current, ended)
        arrived = (event.unique_id for event in self._early_events if event.came)
        return any(not any(key in keys for keys in known) for key in arrived)

    def _without_evidence(self, absent: Set[int], events: Sequence[ChildChange], *, incomplete: bool) -> set[int]:
        """Return those of the absent circuits that may still exist, or whose replacement is not listed yet."""
        ended = {event.unique_id for event in events if not event.came}
        return {key for key in absent - ended - self._unconfirmed if incomplete or not self._ike_sas_of.of(key)}

    def _interrupted(self, events: Sequence[ChildChange], current: Mapping[int, Circuit]) -> set[int]:
        """Replay the events; return the circuits that had ended when their pair of addresses had none left."""
        interrupted, up, ended = set[int](), dict[Pair, set[int]](), dict[Pair, set[int]]()
        for event in events:
            key = event.unique_id
            if (circuit := self.announced.get(key) or current.get(key)) is None:
                continue
            pair = addresses(circuit[0])
            alive = up.setdefault(pair, set(self._by_pair.of(pair)))
            if event.came:
                alive.add(key)
            elif key in alive:
                alive.remove(key)
                ended.setdefault(pair, set()).add(key)
                if not alive:
                    interrupted |= ended[pair]
        return interrupted

    def _apply(self, gone: Set[int], current: Mapping[int, Circuit]) -> None:
        for key in gone:
            self._withdraw(key)
        for key, circuit in current.items():
            self._announce(key, circuit)

    def _announce_unlisted(self, circuit: Circuit) -> None:
        key = circuit[1].unique_id
        self._announce(key, circuit)
        self._not_yet_listed.add(key)

    def _announce(self, key: int, circuit: Circuit) -> None:
        pair = addresses(circuit[0])
        if key in self.announced and addresses(self.announced[key][0]) != pair:
            self._withdraw(key)
        if key not in self.announced:
            self._by_pair.add(pair, key)
        self.announced[key] = circuit

    def _withdraw(self, key: int) -> None:
        self._by_pair.remove(addresses(self.announced.pop(key)[0]), key)

    def _is_announced(self, key: int, circuit: Circuit) -> bool:
        return key in self.announced and same_circuit(self.announced[key], circuit)
