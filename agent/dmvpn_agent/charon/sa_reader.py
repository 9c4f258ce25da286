"""Reads charon's SAs, connections, certificates and statistics from VICI messages."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from ipaddress import ip_address
from sys import intern

from dmvpn_agent.charon.sa import Algorithms, Authentication, ChildSa, IkeSa, Traffic
from dmvpn_agent.charon.vici import Section, ViciError, count, number, sections, text

_ALGORITHM_KEYS = ("encr-alg", "encr-keysize", "integ-alg", "integ-keysize", "prf-alg", "dh-group",
                   *(f"ake{number}" for number in range(1, 8)))  # fmt: skip


# A thousand SAs share a few local addresses and ports, and come with the same remote ones in each list: each value is
# held once.
_address = lru_cache(maxsize=4096)(ip_address)
_port = lru_cache(maxsize=64)(int)


def parse_ike_sas(message: Section, now: datetime) -> Iterator[IkeSa]:
    """Yield the IKE_SAs of a ``list-sa`` event or of an event about SAs; after a rekeying, the old and the new one.

    ``now``: when the message was received; charon gives times in seconds from then. IKE_SAs without addresses, which
    are not connected yet, are left out. Raises ``ViciError``.
    """
    for name, section in sections(message):
        for part in old_and_new(section, "state"):
            if not text(part, "local-host") or text(part, "remote-host") in {"", "%any"}:
                continue
            try:
                yield _ike_sa(name, part, now)
            except ValueError as error:
                raise ViciError(f"IKE_SA {name}: {error}") from error


def old_and_new(section: Section, key: str) -> Iterator[Section]:
    """Yield a section that has the key; else the sections ``old`` and ``new`` within it, as after a rekeying."""
    if key in section:
        yield section
    else:
        yield from (part for name, part in sections(section) if name in {"old", "new"})


def subsection(section: Section, key: str) -> Section:
    """Return a section within a section; an empty one if it is missing or a value."""
    inner = section.get(key, {})
    return inner if isinstance(inner, Mapping) else {}


def _ike_sa(name: str, section: Section, now: datetime) -> IkeSa:
    """Read an IKE_SA; its texts are interned, so that two lists of a thousand SAs hold them once."""
    children = section.get("child-sas", {})
    if not isinstance(children, Mapping):
        raise ViciError("child-sas is no section")
    return IkeSa(
        unique_id=number(section, "uniqueid"),
        name=intern(name),
        state=intern(text(section, "state")),
        local_host=_address(text(section, "local-host")),
        remote_host=_address(text(section, "remote-host")),
        remote_port=_port(count(section, "remote-port")),
        local_id=intern(text(section, "local-id")),
        remote_id=intern(text(section, "remote-id")),
        initiator_spi=intern(text(section, "initiator-spi")),
        responder_spi=intern(text(section, "responder-spi")),
        children=tuple(
            _child_sa(text(part, "name") or key, part, now)
            for key, child in sections(children)
            for part in old_and_new(child, "uniqueid")
        ),
        local_port=_port(count(section, "local-port")),
        version=count(section, "version"),
        initiator=text(section, "initiator") == "yes",
        nat_local=text(section, "nat-local") == "yes",
        nat_remote=text(section, "nat-remote") == "yes",
        algorithms=_algorithms(section),
        established_at=_ago(section, "established", now),
        rekey_due=_ahead(section, "rekey-time", now),
        reauth_due=_ahead(section, "reauth-time", now),
        remote_certificate=_octets(section, "remote-cert-data"),
    )


def _octets(section: Section, key: str) -> bytes:
    value = section.get(key, b"")
    return value if isinstance(value, bytes) else b""


def _child_sa(name: str, section: Section, now: datetime) -> ChildSa:
    return ChildSa(
        unique_id=number(section, "uniqueid"),
        name=intern(name),
        state=intern(text(section, "state")),
        mode=intern(text(section, "mode")),
        protocol=intern(text(section, "protocol")),
        reqid=count(section, "reqid"),
        udp_encapsulated=text(section, "encap") == "yes",
        spi_in=intern(text(section, "spi-in")),
        spi_out=intern(text(section, "spi-out")),
        algorithms=_algorithms(section),
        traffic=Traffic(
            count(section, "bytes-in"),
            count(section, "packets-in"),
            count(section, "bytes-out"),
            count(section, "packets-out"),
        ),
        last_in=_ago(section, "use-in", now),
        last_out=_ago(section, "use-out", now),
        installed_at=_ago(section, "install-time", now),
        rekey_due=_ahead(section, "rekey-time", now),
        expires=_ahead(section, "life-time", now),
    )


def _algorithms(section: Section) -> Algorithms:
    values = tuple(map(section.get, _ALGORITHM_KEYS))
    try:
        return _interned(values)
    except TypeError:  # a section or a list
        return _interned(tuple(value if isinstance(value, bytes) else None for value in values))


@lru_cache(maxsize=256)
def _interned(values: tuple[bytes | None, ...]) -> Algorithms:
    """Return one value for all SAs with the same algorithms."""
    encryption, encryption_bits, integrity, integrity_bits, prf, *exchanges = (value or b"" for value in values)
    return Algorithms(
        _sized(encryption, encryption_bits),
        _sized(integrity, integrity_bits),
        prf.decode(errors="replace"),
        tuple(exchange.decode(errors="replace") for exchange in exchanges if exchange),
    )


def _sized(name: bytes, bits: bytes) -> str:
    return (name + b"-" + bits if bits else name).decode(errors="replace")


def _ago(section: Section, key: str, now: datetime) -> datetime | None:
    """Return a time in the past.

    charon reads the clock once before it lists SAs; an age is negative if the event happened during the listing.
    """
    seconds = _seconds(section, key)
    return None if seconds is None else _moved(now, -max(seconds, 0))


def _ahead(section: Section, key: str, now: datetime) -> datetime | None:
    """Return a time in the future; in the past if the number of seconds is negative."""
    seconds = _seconds(section, key)
    return None if seconds is None else _moved(now, seconds)


def _seconds(section: Section, key: str) -> int | None:
    """Return a number of seconds; charon prints some negative ones as unsigned 64-bit numbers (``use-in``)."""
    seconds = section.get(key)
    if not seconds or not isinstance(seconds, bytes):
        return None
    if not (seconds.removeprefix(b"-").isdigit() and len(seconds) <= 20):
        raise ViciError(f"{key} is {text(section, key)[:40]!r}, not a number of seconds")
    number = int(seconds)
    return number - 2**64 if number >= 2**63 else number


def _moved(now: datetime, seconds: int) -> datetime | None:
    """Return the time so many seconds from now; ``None`` if it is out of the calendar's range."""
    try:
        return now + timedelta(0, seconds)
    except OverflowError:
        return None


#: charon's names of the methods (``auth_class_names``).
_METHODS = {"public key": Authentication.PUBLIC_KEY, "pre-shared key": Authentication.PRE_SHARED_KEY}


def certificate_data(message: Section) -> Iterator[bytes]:
    """Yield the certificate (DER) of a ``list-cert`` event."""
    data = message.get("data")
    if isinstance(data, bytes):
        yield data


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection of swanctl.conf; ``modes``: its children's by name, as charon prints them (``TRANSPORT``).

    ``names_certificate``: it has the certificate that it shows (``certs``), and not only an identity. ``ca_names``:
    for each remote round the CAs of which one must be above the peer's certificate (``cacerts``): their subjects, as
    charon prints them; none: any CA that charon trusts.
    """

    name: str
    authentication: Authentication
    modes: Mapping[str, str]
    names_certificate: bool = False
    ca_names: tuple[frozenset[str], ...] = ()


@dataclass(frozen=True, slots=True)
class Load:
    """What charon's ``init_limit_half_open`` and ``init_limit_job_load`` limit."""

    half_open: int
    jobs: int


def parse_connections(message: Section) -> Iterator[Connection]:
    """Yield the connections of a ``list-conn`` event.

    A peer that passes several rounds (RFC 4739) sends an identity in each, and charon shows the last one. A round
    whose ``auth`` is not set is listed without a class, and accepts a pre-shared key as well.
    """
    for name, section in sections(message):
        rounds = [part for key, part in sections(section) if key.startswith("remote-")]
        classes = {text(part, "class") for part in rounds}
        method = _METHODS.get(classes.pop()) if len(classes) == 1 else None
        children = sections(subsection(section, "children"))
        modes = {child: text(part, "mode") for child, part in children}
        own = [part for key, part in sections(section) if key.startswith("local-")]
        names_certificate = any(part.get("certs") for part in own)
        ca_names = tuple(_texts(part, "cacerts") for part in rounds)
        yield Connection(name, method or Authentication.OTHER, modes, names_certificate, ca_names)


def _texts(section: Section, key: str) -> frozenset[str]:
    """Return the texts of a list; one that is no list has none."""
    values = section.get(key, ())
    if isinstance(values, str | bytes | Mapping):
        return frozenset()
    return frozenset(one if isinstance(one, str) else one.decode(errors="replace") for one in values)


def parse_load(stats: Section) -> Load:
    """Read the answer to ``stats``. Raises ``ViciError``."""
    found = dict(sections(stats))
    jobs = found.get("queues", {})
    return Load(number(found.get("ikesas", {}), "half-open"), sum(number(jobs, kind) for kind in jobs))
