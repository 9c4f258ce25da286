"""nhrpd's event protocol: bytes to messages, and the answer.

A message is ``key=value`` lines ended by an empty line (FRR ``nhrpd/nhrp_event.c``). The only event is
``authorize-binding``; the answer names the event and says ``accept``, or any other word to deny. Everything is
bounded: nhrpd's own largest message is two certificates of under 2048 bytes in hex and a few short lines.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from ipaddress import IPv6Address, ip_address
from sys import intern

from dmvpn_agent.addresses import Address
from dmvpn_agent.policy.request import BindingRequest, BindingType
from dmvpn_agent.x509.certificate import BadCertificate, Certificate
from dmvpn_agent.x509.certificate_reader import read_certificate

MAX_MESSAGE_BYTES = 16 * 1024
MAX_EVENT_ID = 2**32 - 1
#: A peer registers again within minutes or not for hours.
REMEMBERED_CERTIFICATES = 1024


class EventError(Exception):
    """The client did not send the event protocol; the connection must be closed."""


@dataclass(frozen=True, slots=True)
class BadEvent:
    """A whole message that is not a valid request. It is denied if it has an id.

    ``message`` is as received, without the empty line.
    """

    event_id: int | None
    why: str
    message: bytes = field(default=b"", repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class AuthorizeBinding:
    """``authorize-binding``: the request, and the id under which nhrpd expects the answer.

    ``message`` is as received, without the empty line.
    """

    event_id: int
    request: BindingRequest
    message: bytes = field(default=b"", repr=False, compare=False)


class EventReader:
    """Splits the byte stream into messages; holds at most one unfinished message."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[AuthorizeBinding | BadEvent]:
        """Yield the messages that are complete now. Raises ``EventError`` if one is too long."""
        self._buffer += data
        while (end := self._buffer.find(b"\n\n")) >= 0:
            if end > MAX_MESSAGE_BYTES:
                break
            message = bytes(self._buffer[:end])
            del self._buffer[: end + 2]
            yield parse_event(message)
        # The last byte may be the first half of the empty line that ends a message of just that length.
        if len(self._buffer) > MAX_MESSAGE_BYTES + 1:
            raise EventError(f"a message is longer than {MAX_MESSAGE_BYTES} bytes")

    @property
    def unfinished(self) -> bool:
        """Tell whether part of a message was received, and its rest was not."""
        return bool(self._buffer)


def parse_event(message: bytes) -> AuthorizeBinding | BadEvent:
    """Read one message, without the empty line that ends it."""
    fields: dict[str, str] = {}
    for line in message.split(b"\n"):
        key, equals, value = line.partition(b"=")
        try:
            name, text = key.decode("ascii"), value.decode("ascii")
        except UnicodeDecodeError:
            return BadEvent(_event_id(fields), "a line is not ASCII", message)
        if not equals or name in fields:
            return BadEvent(_event_id(fields), f"line {name[:40]!r} is not key=value or occurs twice", message)
        fields[name] = text
    event_id = _event_id(fields)
    if event_id is None:
        return BadEvent(None, f"eventid is {fields.get('eventid', 'missing')[:40]!r}, not a number", message)
    if fields.get("event") != "authorize-binding":
        return BadEvent(event_id, f"event is {fields.get('event', 'missing')[:40]!r}, not authorize-binding", message)
    try:
        return AuthorizeBinding(event_id, _request(fields), message)
    except KeyError as error:
        return BadEvent(event_id, f"{error.args[0]} is missing", message)
    except ValueError as error:
        return BadEvent(event_id, str(error)[:200], message)


def _event_id(fields: Mapping[str, str]) -> int | None:
    text = fields.get("eventid", "")
    # To nhrpd 0 means no id.
    return number if text.isdecimal() and len(text) <= 10 and 0 < (number := int(text)) <= MAX_EVENT_ID else None


def _request(fields: Mapping[str, str]) -> BindingRequest:
    return BindingRequest(
        interface=intern(fields["interface"][:64]),  # all peers share it
        binding_type=BindingType(fields["type"]),
        protocol_address=_address(fields["remote_addr"]),
        nbma_address=_address(fields["remote_nbma"]),
        certificate=_certificates.read(fields["remote_cert"]),
        local_nbma_address=_local(fields["local_nbma"]) if "local_nbma" in fields else None,
        local_addresses=_locals(fields["local_addr"]) if "local_addr" in fields else frozenset(),
    )


@lru_cache(maxsize=64)
def _local(text: str) -> Address:
    """Return an address of this node: cached, because it is the same for all peers."""
    return _address(text)


def _address(text: str) -> Address:
    """Return an address without scope: nhrpd writes none, and a scope is arbitrary text. Raises ``ValueError``."""
    address = ip_address(text)
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise ValueError(f"{text[:60]!r} is an address with a scope")
    return address


@lru_cache(maxsize=64)
def _locals(text: str) -> frozenset[Address]:
    """Return the protocol address of an interface of this node, which may have none; cached like ``_local``."""
    try:
        return frozenset({ip_address(text)})
    except ValueError:
        return frozenset()


class _Certificates:
    """A cache of certificates by a digest of their text, which is larger than the result of reading it."""

    def __init__(self) -> None:
        self._known: dict[bytes, Certificate | BadCertificate] = {}

    def read(self, text: str) -> Certificate | BadCertificate | None:
        if not text:
            return None
        digest = sha256(text.encode()).digest()
        known = self._known.get(digest)
        if known is None:
            try:
                known = read_certificate(bytes.fromhex(text))
            except ValueError:
                known = BadCertificate("not hexadecimal")
            if len(self._known) >= REMEMBERED_CERTIFICATES:
                self._known.clear()
            self._known[digest] = known
        return known


_certificates = _Certificates()


def answer(event_id: int, accept: bool) -> bytes:
    """Return the bytes that answer an event."""
    return f"eventid={event_id}\nresult={'accept' if accept else 'deny'}\n\n".encode()
