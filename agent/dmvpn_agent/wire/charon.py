"""charon's SAs: from VICI's sections, and into the form that nhrpd reads."""

from collections.abc import Iterator, Mapping
from ipaddress import ip_address

from dmvpn_agent.core.picture import ChildChange
from dmvpn_agent.core.sa import ChildSa, IkeSa
from dmvpn_agent.wire.vici import Section, ViciError, number, sections, text

#: nhrpd keeps no longer certificate (``blob2buf`` into 2048 bytes) and would keep the former peer's instead.
NHRPD_MAX_CERTIFICATE = 2047


def parse_ike_sas(message: Section) -> Iterator[IkeSa]:
    """Yield the IKE_SAs of a ``list-sa`` event; ones without addresses (not yet connected) are left out.

    Raises ``ViciError``.
    """
    for name, section in sections(message):
        if not text(section, "local-host") or text(section, "remote-host") in {"", "%any"}:
            continue
        try:
            yield _ike_sa(name, section)
        except ValueError as error:
            raise ViciError(f"IKE_SA {name}: {error}") from error


def _ike_sa(name: str, section: Section) -> IkeSa:
    children = section.get("child-sas", {})
    return IkeSa(
        unique_id=number(section, "uniqueid"),
        name=name,
        state=text(section, "state"),
        local_host=ip_address(text(section, "local-host")),
        remote_host=ip_address(text(section, "remote-host")),
        remote_port=int(text(section, "remote-port") or 0),
        local_id=text(section, "local-id"),
        remote_id=text(section, "remote-id"),
        initiator_spi=text(section, "initiator-spi"),
        responder_spi=text(section, "responder-spi"),
        children=tuple(
            ChildSa(number(child, "uniqueid"), text(child, "name") or key, text(child, "state"))
            for key, child in sections(children)
        ),
        initiated=text(section, "initiator") == "yes",
    )


def parse_connections(message: Section) -> Iterator[tuple[str, bool]]:
    """Yield the connections of a ``list-conn`` event, and whether each may have the peer show a certificate.

    Only one whose every remote round asks for a pre-shared key does not.
    """
    for name, section in sections(message):
        classes = [text(part, "class") for key, part in sections(section) if key.startswith("remote")]
        yield name, not classes or any(kind != "pre-shared key" for kind in classes)


def ike_ids(message: Section) -> frozenset[int]:
    """Return the unique ids of the IKE_SAs that an ``ike-*`` or ``child-*`` event is about, new and old ones."""
    found = set[int]()
    for _, section in sections(message):
        for part in (section, *(inner for key, inner in sections(section) if key in {"old", "new"})):
            found |= _unique_id(part)
    return frozenset(found)


def child_changes(event: str, message: Section) -> Iterator[ChildChange]:
    """Yield the CHILD_SAs that an event says came, or are gone, in this order."""
    if event not in {"child-updown", "child-rekey"}:
        return
    children = [child for _, section in sections(message) for _, child in sections(section.get("child-sas", {}))]
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


def half_open_and_jobs(stats: Section) -> tuple[int, int]:
    """Return from the answer to ``stats`` what charon's ``init_limit_*`` are about: half-open IKE_SAs, waiting jobs.

    Raises ``ViciError``.
    """
    found = dict(sections(stats))
    jobs = found.get("queues", {})
    return number(found.get("ikesas", {}), "half-open"), sum(number(jobs, kind) for kind in jobs)


def rekeyed_spis(message: Section) -> tuple[str, str] | None:
    """Return the SPIs of the old and the new IKE_SA of an ``ike-rekey`` event."""
    for _, section in sections(message):
        old, new = section.get("old"), section.get("new")
        if isinstance(old, dict) and isinstance(new, dict):
            return _spis(old), _spis(new)
    return None


def _spis(section: Section) -> str:
    return f"{text(section, 'initiator-spi')}:{text(section, 'responder-spi')}"


def render_for_nhrpd(sa: IkeSa, child: ChildSa, local: bytes, remote: bytes) -> Section:
    """Return the message of a ``list-sa`` or ``child-state-*`` event about one CHILD_SA.

    nhrpd reads from the top and acts where the CHILD_SA's section ends, so everything else stands before it. A
    certificate it cannot hold is sent as an empty one: nhrpd would otherwise keep what it had for these addresses.
    """
    return {
        sa.name: {
            "uniqueid": str(sa.unique_id),
            "local-host": str(sa.local_host),
            "remote-host": str(sa.remote_host),
            "local-id": sa.local_id,
            "remote-id": sa.remote_id,
            "local-cert-data": _holdable(local),
            "remote-cert-data": _holdable(remote),
            "child-sas": {
                child.name: {
                    "name": child.name,
                    "uniqueid": str(child.unique_id),
                    "state": "INSTALLED" if child.installed else child.state,
                }
            },
        }
    }


def _holdable(der: bytes) -> bytes:
    return der if len(der) <= NHRPD_MAX_CERTIFICATE else b""
