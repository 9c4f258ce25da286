"""What charon's events say of SAs: which came, which are gone, which took another's place."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from dmvpn_agent.charon.sa import IkeSa
from dmvpn_agent.charon.sa_reader import _parts, _section, parse_ike_sas
from dmvpn_agent.charon.sa_totals import SaEvent
from dmvpn_agent.charon.vici import Section, ViciError, number, sections, text


@dataclass(frozen=True, slots=True)
class ChildChange:
    """What charon said of a CHILD_SA: it came, or it is gone."""

    unique_id: int
    came: bool


def sa_event(name: str, message: Section) -> SaEvent | None:
    """Return what an event of charon says has happened; going down it bears no ``up``."""
    up = text(message, "up") == "yes"
    match name:
        case "ike-updown":
            return SaEvent.IKE_ESTABLISHED if up else SaEvent.IKE_CLOSED
        case "child-updown":
            return SaEvent.CHILD_INSTALLED if up else SaEvent.CHILD_CLOSED
        case "ike-rekey":
            return SaEvent.IKE_REKEYED
        case "child-rekey":
            return SaEvent.CHILD_REKEYED
        case "ike-update":
            return SaEvent.IKE_MOVED
    return None


def parse_alert(message: Section, now: datetime) -> tuple[str, IkeSa | None]:
    """Return the kind of an ``alert`` event, in charon's words, and the IKE_SA that it is about, if any."""
    about = message.get("ike-sa", {})
    return text(message, "type"), next(parse_ike_sas(about, now), None) if isinstance(about, Mapping) else None


def ike_ids(message: Section) -> frozenset[int]:
    """Return the unique ids of the IKE_SAs that an ``ike-*`` or ``child-*`` event is about, new and old ones."""
    found = set[int]()
    for _, section in sections(message):
        for part in _parts(section, "uniqueid"):
            found |= _unique_id(part)
    return frozenset(found)


def child_changes(event: str, message: Section) -> Iterator[ChildChange]:
    """Yield the CHILD_SAs that an event says came, or are gone, in this order."""
    if event not in {"child-updown", "child-rekey"}:
        return
    children = [child for _, section in sections(message) for _, child in sections(_section(section, "child-sas"))]
    if event == "child-updown":
        yield from (ChildChange(key, text(message, "up") == "yes") for child in children for key in _unique_id(child))
        return
    for child in children:
        for part, came in (("new", True), ("old", False)):
            inner = child.get(part)
            if isinstance(inner, Mapping):
                yield from (ChildChange(key, came) for key in _unique_id(inner))


def _unique_id(section: Section) -> frozenset[int]:
    """Return a section's unique id; nothing where it has none."""
    try:
        return frozenset({number(section, "uniqueid")})
    except ViciError:
        return frozenset()


def rekeyed_spis(message: Section) -> tuple[str, str] | None:
    """Return the SPIs of the old and the new IKE_SA of an ``ike-rekey`` event."""
    for _, section in sections(message):
        old, new = section.get("old"), section.get("new")
        if isinstance(old, dict) and isinstance(new, dict):
            return _spis(old), _spis(new)
    return None


def _spis(section: Section) -> str:
    return f"{text(section, 'initiator-spi')}:{text(section, 'responder-spi')}"
