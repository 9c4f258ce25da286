"""What is called with each input, and what must be true of the answer.

An input that breaks a truth raises ``Broken``, or whatever escaped from the reader.
"""

from ipaddress import IPv4Address, IPv6Address, IPv6Network
from itertools import chain
from random import Random
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID
from pyasn1.codec.der.decoder import decode
from pyasn1_modules import rfc3779

from certificates import (
    BLOCKS,
    BLOCKS_V2,
    COMMON_NAME,
    IS_HUB,
    NUMBERS,
    NUMBERS_V2,
    SUBJECT_ALT_NAME,
    UNIT,
    attribute,
    der,
    extension,
    name,
)
from dmvpn_agent.addresses import AsRange
from dmvpn_agent.admission.nhrp_event import AuthorizeBinding, BadEvent, EventError, EventReader, parse_event
from dmvpn_agent.bridge.handover_state import BadHandover, decode_handover
from dmvpn_agent.bridge.nhrpd_sections import render_for_nhrpd
from dmvpn_agent.charon.events import ALERT_EVENT, SA_EVENTS, decode_event
from dmvpn_agent.charon.sa_reader import parse_ike_sas
from dmvpn_agent.charon.vici import MAX_PACKET, Packet, PacketReader, PacketType, ViciError, encode
from dmvpn_agent.charon.vici import decode as decode_packet
from dmvpn_agent.policy.request import BindingRequest
from dmvpn_agent.x509.certificate import BadCertificate, Certificate, Claim, Resources, Role, Source
from dmvpn_agent.x509.certificate_reader import read_certificate
from dmvpn_agent.x509.claims import MAX_CLAIMS
from dmvpn_agent.x509.rfc3779 import read_address_blocks, read_as_identifiers
from factories import NOW
from fuzz.mutate import STRINGS, blind, structured, text
from fuzz.seeds import (
    ADDRESS_BLOCKS,
    ALTERNATIVES,
    AS_IDENTIFIERS,
    CERTIFICATES,
    EVENTS,
    HANDOVERS,
    UNITS,
    VICI,
    Node,
    tree,
)

KINDS = (UNIT, UNIT, COMMON_NAME, "1.2.3.4")
BLOCK_OIDS, AS_OIDS = (BLOCKS, BLOCKS_V2, NUMBERS), (NUMBERS, NUMBERS_V2)

#: Comparing with pyasn1 takes far longer than the rest.
COMPARED_ONE_IN = 40


class Broken(Exception):
    """An answer that must not be."""


def _true(condition: bool, what: str) -> None:
    if not condition:
        raise Broken(what)


class DerInput:
    """Makes inputs from seeds in DER: mostly well-formed with something wrong within, some damaged blindly."""

    def __init__(self, seeds: tuple[bytes, ...]) -> None:
        self._seeds = seeds
        self._trees = tuple(tree(seed) for seed in seeds)
        self._pool = tuple(node for nodes in self._trees for node in _flat(nodes))

    def make(self, random: Random) -> bytes:
        """Return an input with one to three changes."""
        place = random.randrange(len(self._seeds))
        data = self._seeds[place]
        if random.random() < 0.75:
            data = structured(random, self._trees[place], self._pool)
            if random.random() < 0.3 and (again := tree(data)):
                data = structured(random, again, self._pool)
        for _ in range(random.choice((0, 0, 0, 0, 1)) if data != self._seeds[place] else random.randrange(1, 4)):
            data = blind(random, data, self._seeds)
        return data


def _flat(nodes: tuple[Node, ...]) -> list[Node]:
    return [item for node in nodes for item in (node, *_flat(node.children))]


class Certificates(DerInput):
    """``read_certificate``: half of the inputs changed anywhere, half put together from parts that are changed."""

    def __init__(self) -> None:
        super().__init__(CERTIFICATES)
        self._blocks, self._identifiers = DerInput(ADDRESS_BLOCKS), DerInput(AS_IDENTIFIERS)
        self._names = DerInput((ALTERNATIVES,))

    def make(self, random: Random) -> bytes:
        """Return an input."""
        if random.random() < 0.5:
            return super().make(random)
        parts = [
            attribute(random.choice(KINDS), text(random, UNITS), random.choice(STRINGS))
            if random.random() < 0.3
            else attribute(UNIT, text(random, UNITS))
            for _ in range(random.randrange(5))
        ]
        contents = (
            (random.choice(AS_OIDS), self._identifiers),
            (random.choice(BLOCK_OIDS), self._blocks),
            (SUBJECT_ALT_NAME, self._names),
        )
        extensions = [
            extension(kind, maker.make(random), random.random() < 0.3)
            for kind, maker in contents
            if random.random() < 0.4
        ]
        if random.random() < 0.1:
            extensions.append(extension(IS_HUB, bytes([1, 1, random.choice((0, 1, 0x7F, 0xFF))])))
        return der(name(*parts), extensions)

    def check(self, data: bytes, random: Random) -> bool:
        """Read an input; tell whether it was a certificate."""
        found = read_certificate(data)
        if isinstance(found, BadCertificate):
            _true(found.why.isprintable() and len(found.why) < 400, "a reason that cannot be shown")
            return False
        check_certificate(found)
        _true(found.der == data, "another certificate than was given")
        return True


def check_certificate(found: Certificate) -> None:
    _true((found.subject + found.issuer + "".join(found.hub_hosts)).isprintable(), "a name that cannot be shown")
    _true(found.issuer_name in found.der and found.subject_name in found.der, "a name that is not in the certificate")
    for source, resources in found.resources.items():
        _true(resources != Resources(), "an empty source")
        for claims in _claims(resources):
            _true(len(claims) <= MAX_CLAIMS, "too many claims")
            for claim in claims:
                _check_claim(claim, exact=source is Source.SUBJECT)
    loaded = x509.load_der_x509_certificate(found.der)
    try:
        units = {str(item.value) for item in loaded.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)}
    except (ValueError, TypeError, KeyError):
        return  # it shows no T61 in another encoding than UTF-8, no BIT STRING, and (up to 46) only strings
    named = found.resources.get(Source.SUBJECT, Resources())
    for claim in chain(*_claims(named)):
        _true(claim.value is None or claim.text in units, "a claim that cryptography does not see")


def _claims(resources: Resources) -> tuple[tuple[Claim[Any], ...], ...]:
    return resources.protocol_addresses, resources.as_numbers, resources.prefixes, resources.roles


def _check_claim(claim: Claim[Any], exact: bool) -> None:
    value = claim.value
    _true(
        (claim.text.isprintable() and claim.text.isascii()) or len(claim.text) <= 200, "a claim that cannot be shown"
    )
    if value is None:
        return
    if exact and not isinstance(value, Role):
        _true(claim.text.partition("=")[2].lower() == str(value), "a value that is not what is written")
    if isinstance(value, AsRange):
        _true(0 <= value.low <= value.high < 2**32, "no AS numbers")
    elif isinstance(value, IPv6Address | IPv6Network):
        first = value if isinstance(value, IPv6Address) else value.network_address
        _true(first.ipv4_mapped is None and first.scope_id is None, "an address in disguise")


class AddressBlocks(DerInput):
    """``read_address_blocks``."""

    def __init__(self) -> None:
        super().__init__(ADDRESS_BLOCKS)

    def check(self, data: bytes, random: Random) -> bool:
        """Read an input; tell whether all of it was understood."""
        claims, inherits = read_address_blocks(data)
        _true(len(claims) <= MAX_CLAIMS, "too many claims")
        for claim in claims:
            _check_claim(claim, exact=False)
        understood = all(claim.value is not None for claim in claims)
        if understood and random.randrange(COMPARED_ONE_IN) == 0:
            value, rest = decode(data, asn1Spec=rfc3779.IPAddrBlocks())
            _true(not rest and len(value) >= len(inherits), "pyasn1 reads something else")
        return understood


class AsIdentifiers(DerInput):
    """``read_as_identifiers``."""

    def __init__(self) -> None:
        super().__init__(AS_IDENTIFIERS)

    def check(self, data: bytes, random: Random) -> bool:
        """Read an input; tell whether all of it was understood."""
        claims, _ = read_as_identifiers(data)
        _true(len(claims) <= MAX_CLAIMS, "too many claims")
        for claim in claims:
            _check_claim(claim, exact=False)
        understood = all(claim.value is not None for claim in claims)
        if understood and random.randrange(COMPARED_ONE_IN) == 0:
            value, rest = decode(data, asn1Spec=rfc3779.ASIdentifiers())
            _true(not rest and not value["rdi"].isValue, "pyasn1 reads something else")
        return understood


class Events:
    """``EventReader`` and ``parse_event``; some with a certificate that is changed itself."""

    def __init__(self) -> None:
        self._certificates = Certificates()

    def make(self, random: Random) -> bytes:
        """Return a stream of bytes."""
        data = random.choice(EVENTS)
        if random.random() < 0.3:
            head, _, _ = data.partition(b"remote_cert=")
            return head + b"remote_cert=" + self._certificates.make(random)[:8000].hex().encode() + b"\n\n"
        for _ in range(random.randrange(1, 4)):
            data = blind(random, data, EVENTS)
        return data

    def check(self, data: bytes, random: Random) -> bool:
        """Read an input, cut at random; tell whether a request came out of it."""
        cut = random.randrange(len(data) + 1)
        reader = EventReader()
        events: list[AuthorizeBinding | BadEvent] = []
        try:
            for part in (data[:cut], data[cut:]):
                events += reader.feed(part)
        except EventError:
            pass
        if random.random() < 0.2:
            events.append(parse_event(data))
        for found in events:
            _true(found.event_id is None or 0 < found.event_id < 2**32, "an id that is none of nhrpd's")
            if isinstance(found, BadEvent):
                _true(len(found.why) <= 200, "a long reason")
            else:
                _check_request(found.request)
        return any(isinstance(found, AuthorizeBinding) for found in events)


class Vici:
    """``PacketReader`` and what reads charon's SAs from it; and what the bridge's next program reads."""

    def make(self, random: Random) -> bytes:
        """Return a stream of bytes: packets, some of them damaged, or a handover that is."""
        data = random.choice(VICI) if random.random() < 0.8 else random.choice(HANDOVERS)
        for _ in range(random.randrange(4)):
            data = blind(random, data, VICI)
        return data

    def check(self, data: bytes, random: Random) -> bool:
        """Read an input, cut at random; tell whether a packet came out of it, or a handover."""
        cut = random.randrange(len(data) + 1)
        reader = PacketReader()
        packets: list[Packet] = []
        try:
            for part in (data[:cut], data[cut:]):
                packets += reader.feed(part)
        except ViciError:
            pass
        _true(len(reader.rest) <= 4 + MAX_PACKET, "more is kept than one packet")
        for packet in packets:
            _check_packet(packet)
        try:
            handed = decode_handover(data)
        except BadHandover:
            return bool(packets)
        _true(
            handed.listener > 2 and all(client.descriptor > 2 for client in handed.clients), "a descriptor not ours"
        )
        return True


def _check_packet(packet: Packet) -> None:
    again = decode_packet(encode(packet)[4:])
    _true((again.type, again.name) == (packet.type, packet.name), "another packet than was read")
    try:
        for sa in parse_ike_sas(packet.message, NOW):
            for child in sa.children:
                encode(Packet(PacketType.EVENT, "list-sa", render_for_nhrpd(sa, child, b"", b"")))
    except ViciError:
        pass
    for event in (*SA_EVENTS, ALERT_EVENT):
        decode_event(event, packet.message, packet.message.keys(), NOW)


def _check_request(request: BindingRequest) -> None:
    _true(isinstance(request.protocol_address, IPv4Address | IPv6Address), "no address")
    if isinstance(request.certificate, Certificate):
        check_certificate(request.certificate)
