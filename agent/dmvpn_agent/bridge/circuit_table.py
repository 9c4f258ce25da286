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
- an event said so (``child-updown`` without ``up``, or ``old`` of a ``child-rekey``), and no event of its pair before
  it waits for its listing;
- charon lists it in a state without traffic, or its IKE_SA as being deleted;
- two listings in a row lack it. One listing proves nothing: while charon rekeys an IKE_SA, its CHILD_SAs move to the
  new one, and ``list-sas``, which goes from one IKE_SA to the next, can meet them in neither.
Without an event it is not gone while a CHILD_SA of its pair that an event reported waits for its listing.

Order of announcements: first the interruptions (every circuit of a pair had ended before the next one came, going by
the order of charon's events), then new and changed circuits, then all other circuits that are gone. A circuit that
came after the interruption, and was announced before a listing showed the interruption, is announced as interrupted
and as new.

Events and listings come by different ways, so an event can precede the listing that shows its effect. Such an event
keeps its place before later events of its pair until a listing shows it, or a later list of all IKE_SAs does not. The
order of events of different pairs does not matter: nhrpd counts each pair's circuits alone.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field

from dmvpn_agent.addresses import Address
from dmvpn_agent.bridge.multi_index import MultiIndex
from dmvpn_agent.charon.events import ChildChange
from dmvpn_agent.charon.sa import Circuit, IkeSa, Pair, addresses, circuits, same_circuit


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
        # Events since the last update, and the pairs of which one ended.
        self._events: list[ChildChange] = []
        self._ending = set[Pair | None]()
        # By pair: events whose effect the last listing did not show, and the CHILD_SAs that existed before them.
        self._early: dict[Pair, list[ChildChange]] = {}
        self._alive: dict[Pair, set[int]] = {}
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

    def note(self, events: Iterable[ChildChange]) -> None:
        """Note what events reported, in their order; the next update takes it in."""
        for event in events:
            self._events.append(event)
            if not event.came:
                self._ending.add(event.pair)

    def announce_early(self, circuit: Circuit) -> bool:
        """Note a circuit that an event shows; return whether to announce it before a listing shows it.

        That is safe if its pair has no other circuit announced, and no event that waits for a listing.
        """
        sa, child = circuit
        pair = addresses(sa)
        known = child.unique_id in self.announced or self._by_pair.of(pair)
        if known or not child.installed or pair in self._early or pair in self._ending or None in self._ending:
            return False
        self._announce_unlisted(circuit)
        return True

    def update(self, listed: Mapping[int, IkeSa], of: Set[int] | None = None) -> Announcements:
        """Take in a listing and the events noted; return what to announce.

        ``of``: the unique ids of the IKE_SAs that the bridge asked for, ``None`` for all; those in ``listed`` exist.
        """
        checked = self._replace(listed, of) | self._unconfirmed | self._unlisted(of)
        current = {key: circuit for key in sorted(checked) if (circuit := self._listed_circuit(key))}
        decided = self._decide(checked, current, all_listed=of is None)
        absent = (checked & self.announced.keys()) - current.keys()
        unconfirmed = {key for key in absent if not self._is_gone(key, decided, current)}
        gone = absent - unconfirmed
        interrupted = self._interrupted(decided, gone)
        back = {key: self.announced[key] for key in sorted(interrupted - gone)}
        new = {key: circuit for key, circuit in current.items() if not self._is_announced(key, circuit)}
        announcements = Announcements(
            [self.announced[key] for key in sorted(interrupted)],
            list((back | new).values()),
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

    def _decide(
        self, checked: Set[int], current: Mapping[int, Circuit], *, all_listed: bool
    ) -> dict[Pair, list[ChildChange]]:
        """Return the events, by pair, up to the first one whose effect is not listed yet; keep the others.

        A list of all IKE_SAs that began after all events of a pair decides all of them.
        """
        events, new = {pair: list(several) for pair, several in self._early.items()}, set[Pair]()
        for event in self._events:
            if pair := self._pair_of(event, current):
                events.setdefault(pair, []).append(event)
                new.add(pair)
        decided, self._early = {}, {}
        for pair, several in events.items():
            late = all_listed and pair not in new
            count = len(several) if late else self._shown(several, checked, current)
            decided[pair] = several[:count]
            if early := several[count:]:
                self._early[pair] = early
        self._events, self._ending = [], set()
        return decided

    def _pair_of(self, event: ChildChange, current: Mapping[int, Circuit]) -> Pair | None:
        """Return the addresses at which nhrpd knows the CHILD_SA, or at which it was when charon raised the event."""
        if circuit := self.announced.get(event.unique_id):
            return addresses(circuit[0])
        listed = current.get(event.unique_id)
        return event.pair or (addresses(listed[0]) if listed else None)

    def _shown(self, events: Sequence[ChildChange], checked: Set[int], current: Mapping[int, Circuit]) -> int:
        """Return how many of a pair's events precede the first one whose effect is not listed yet.

        No listing will show a CHILD_SA that came and ended, if its end is among them.
        """
        count, previous = len(events), -1
        while count != previous:
            previous = count
            ended = {event.unique_id for event in events[:count] if not event.came}
            for place, event in enumerate(events[:count]):
                key = event.unique_id
                up = key in (current if key in checked else self.announced)
                if (event.came and not up and key not in ended) or (not event.came and up):
                    count = place
                    break
        return count

    def _is_gone(self, key: int, decided: Mapping[Pair, list[ChildChange]], current: Mapping[int, Circuit]) -> bool:
        """Tell whether there is evidence that an announced circuit is gone which the listing lacks."""
        pair = addresses(self.announced[key][0])
        if any(event.unique_id == key and not event.came for event in decided.get(pair, ())):
            return True
        seen_or_missed_twice = self._ike_sas_of.of(key) or key in self._unconfirmed
        return bool(seen_or_missed_twice) and not self._lacks_arrival(pair, current)

    def _lacks_arrival(self, pair: Pair, current: Mapping[int, Circuit]) -> bool:
        """Tell whether an event reported a CHILD_SA between two addresses that the listing does not show."""
        early = self._early.get(pair, ())
        known = (self.announced, current, {event.unique_id for event in early if not event.came})
        return any(event.came and not any(event.unique_id in keys for keys in known) for event in early)

    def _interrupted(self, decided: Mapping[Pair, list[ChildChange]], gone: Set[int]) -> set[int]:
        """Return all announced circuits of each pair that had none for a moment, going by its events.

        Those that still exist came afterwards, and are announced again.
        """
        interrupted, before, self._alive = set[int](), self._alive, {}
        for pair, events in decided.items():
            announced, early = self._by_pair.of(pair), self._early.get(pair, ())
            came = {event.unique_id for event in (*events, *early) if event.came}
            alive = before.get(pair, set()).union(announced) - came
            if _ended_before_gap(events, alive) & gone:
                interrupted.update(announced)
            if early:
                self._alive[pair] = alive - gone
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


def _ended_before_gap(events: Iterable[ChildChange], alive: set[int]) -> set[int]:
    """Bring a pair's circuits up to date; return those that had ended when it last had none."""
    ended, before_gap = set[int](), set[int]()
    for event in events:
        if event.came:
            alive.add(event.unique_id)
        elif event.unique_id in alive:
            alive.remove(event.unique_id)
            ended.add(event.unique_id)
            before_gap = before_gap if alive else set(ended)
    return before_gap
