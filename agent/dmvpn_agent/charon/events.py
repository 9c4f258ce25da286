"""charon's events about SAs, and its alerts: each VICI message is decoded once, here.

charon raises an event with the IKE_SA in a section named by its connection; in ``ike-rekey`` the old and the new
IKE_SA, and in ``child-rekey`` the old and the new CHILD_SA, lie one section deeper (strongSwan ``vici_query.c``).
"""

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from ipaddress import ip_address

from dmvpn_agent.charon.sa import CONNECTING, IkeSa, Pair
from dmvpn_agent.charon.sa_reader import old_and_new, parse_ike_sas, subsection
from dmvpn_agent.charon.vici import Section, ViciError, number, sections, text

#: charon's events about SAs that come, go and change.
SA_EVENTS = ("ike-updown", "ike-rekey", "ike-update", "child-updown", "child-rekey")
#: Since strongSwan 6.0.3: something went wrong.
ALERT_EVENT = "alert"
#: Only strongSwan with Alpine's patches knows this event, without which nhrpd cannot work with it.
PATCHED_EVENT = "child-state-installed"


class SaEventKind(StrEnum):
    """What happened to an SA."""

    IKE_ESTABLISHED = "ike_established"
    IKE_CLOSED = "ike_closed"
    IKE_REKEYED = "ike_rekeyed"
    IKE_MOVED = "ike_moved"
    CHILD_INSTALLED = "child_installed"
    CHILD_CLOSED = "child_closed"
    CHILD_REKEYED = "child_rekeyed"


@dataclass(frozen=True, slots=True)
class ChildChange:
    """A CHILD_SA that came or is gone, by its unique id.

    ``pair``: the addresses of its IKE_SA at that time, ``None`` if they cannot be read.
    """

    unique_id: int
    came: bool
    pair: Pair | None = None


@dataclass(frozen=True, slots=True)
class SaEvent:
    """An event about SAs; ``ours``: of a DMVPN connection. If it is not, only ``kind`` is set.

    While charon has not chosen the connection of a new IKE_SA, it is of none (``(unnamed)``).
    ``kind``: ``None`` for events that only patched strongSwan raises. ``ike_sas``: as they are after the event, the
    old one before the new one. ``ike_ids``: their unique ids. ``rekeyed``: the SPIs of the old and the new IKE_SA.
    ``problem``: why the IKE_SAs could not be read; ``ike_sas`` is empty then, and the rest is what could be read.
    """

    kind: SaEventKind | None
    ours: bool = False
    ike_sas: tuple[IkeSa, ...] = ()
    ike_ids: frozenset[int] = frozenset()
    child_changes: tuple[ChildChange, ...] = ()
    rekeyed: tuple[str, str] | None = None
    problem: str = ""

    @property
    def precedes_child(self) -> bool:
        """Whether the IKE_SA has no CHILD_SA yet, and charon raises another event when it has."""
        if self.kind is SaEventKind.IKE_MOVED:
            return any(sa.state == CONNECTING for sa in self.ike_sas)
        return self.kind is SaEventKind.IKE_ESTABLISHED


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert: ``kind`` as charon names it; the IKE_SA that it is about, if any; ``problem`` as in ``SaEvent``."""

    kind: str
    ike_sa: IkeSa | None = None
    problem: str = ""


CharonEvent = SaEvent | Alert


def decode_event(name: str, message: Section, connections: Set[str], now: datetime) -> CharonEvent:
    """Decode an event; ``now``: when it was received. IKE_SAs of other connections are left out. Never raises."""
    if name == ALERT_EVENT:
        return _decode_alert(message, now)
    ours = {connection: section for connection, section in sections(message) if connection in connections}
    ike_sas, problem = _ike_sas(ours, now)
    return SaEvent(
        _kind(name, up=text(message, "up") == "yes"),
        bool(ours),
        ike_sas,
        _ike_ids(ours),
        tuple(_child_changes(name, ours, up=text(message, "up") == "yes")),
        _rekeyed(ours) if name == "ike-rekey" else None,
        problem,
    )


def _decode_alert(message: Section, now: datetime) -> Alert:
    ike_sas, problem = _ike_sas(subsection(message, "ike-sa"), now)
    return Alert(text(message, "type"), next(iter(ike_sas), None), problem)


def _ike_sas(message: Section, now: datetime) -> tuple[tuple[IkeSa, ...], str]:
    """Return the IKE_SAs of a message, or why they cannot be read."""
    try:
        return tuple(parse_ike_sas(message, now)), ""
    except ViciError as error:
        return (), str(error)


def _kind(name: str, *, up: bool) -> SaEventKind | None:
    match name:
        case "ike-updown":
            return SaEventKind.IKE_ESTABLISHED if up else SaEventKind.IKE_CLOSED
        case "child-updown":
            return SaEventKind.CHILD_INSTALLED if up else SaEventKind.CHILD_CLOSED
        case "ike-rekey":
            return SaEventKind.IKE_REKEYED
        case "child-rekey":
            return SaEventKind.CHILD_REKEYED
        case "ike-update":
            return SaEventKind.IKE_MOVED
    return None


def _ike_ids(message: Section) -> frozenset[int]:
    ids = set[int]()
    for _, section in sections(message):
        for part in old_and_new(section, "uniqueid"):
            ids |= _unique_id(part)
    return frozenset(ids)


def _child_changes(name: str, message: Section, *, up: bool) -> Iterator[ChildChange]:
    """Yield the CHILD_SAs that came and are gone, in the order in which nhrpd has to know of them."""
    for _, section in sections(message):
        pair = _pair(section)
        for _, child in sections(subsection(section, "child-sas")):
            for part, came in _came_and_gone(name, child, up=up):
                yield from (ChildChange(key, came, pair) for key in _unique_id(part))


def _came_and_gone(name: str, child: Section, *, up: bool) -> tuple[tuple[Section, bool], ...]:
    if name == "child-rekey":
        return (subsection(child, "new"), True), (subsection(child, "old"), False)
    return ((child, up),) if name == "child-updown" else ()


def _pair(section: Section) -> Pair | None:
    try:
        return ip_address(text(section, "local-host")), ip_address(text(section, "remote-host"))
    except ValueError:
        return None


def _unique_id(section: Section) -> frozenset[int]:
    """Return a section's unique id; empty if it has none."""
    try:
        return frozenset({number(section, "uniqueid")})
    except ViciError:
        return frozenset()


def _rekeyed(message: Section) -> tuple[str, str] | None:
    for _, section in sections(message):
        old, new = section.get("old"), section.get("new")
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            return _spis(old), _spis(new)
    return None


def _spis(section: Section) -> str:
    return f"{text(section, 'initiator-spi')}:{text(section, 'responder-spi')}"
