"""What the CA issues, ``x509`` reads back with exactly the same resources; and strangers' readers too."""

from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from itertools import pairwise

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st
from pyasn1.codec.der.decoder import decode
from pyasn1_modules import rfc3779

from dmvpn_agent.addresses import Address, AsRange, Network
from dmvpn_agent.ca.extensions import address_blocks, as_identifiers
from dmvpn_agent.ca.node import Node, merged
from dmvpn_agent.ca.profile import Networks, ca_certificate, node_certificate, organization
from dmvpn_agent.ca.settings import ResourcesIn, Settings
from dmvpn_agent.x509.certificate import Certificate, Role, Source
from dmvpn_agent.x509.certificate_reader import read_certificate
from dmvpn_agent.x509.claims import values
from dmvpn_agent.x509.private_key import digest_for, new_key
from dmvpn_agent.x509.rfc3779 import read_address_blocks, read_as_identifiers

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
KEY = ec.generate_private_key(ec.SECP384R1())
CA = ca_certificate(x509.Name(organization("O=Example,C=FI")), KEY.public_key(), None, NOW, 3650, 0).sign(
    KEY, SHA384()
)


def network(version: int) -> st.SearchStrategy[Network]:
    width, kind = (32, IPv4Network) if version == 4 else (128, IPv6Network)
    low = 1 if version == 4 else 8

    def made(address: int, length: int) -> Network:
        return kind((address >> (width - length) << (width - length), length))

    return st.builds(made, st.integers(2 ** (width - 1), 2**width - 1), st.integers(low, width))


NETWORKS = st.lists(network(4) | network(6), max_size=8)
ADDRESSES = st.lists(
    st.builds(IPv4Address, st.integers(1, 2**32 - 1)) | st.builds(IPv6Address, st.integers(2**127, 2**128 - 1)),
    min_size=1, max_size=4, unique=True,
)  # fmt: skip
NUMBERS = st.integers(1, 2**32 - 2)


@given(NETWORKS, ADDRESSES, NUMBERS, st.booleans(), st.sampled_from(ResourcesIn))
@settings(deadline=None)
def test_what_is_issued_is_what_is_read(
    prefixes: list[Network], addresses: list[Address], number: int, is_hub: bool, place: ResourcesIn
) -> None:
    """From every place that names it, and nothing else."""
    networks = Networks((IPv4Network("10.255.0.0/24"),), (IPv4Network("10.0.0.0/8"),), ())
    node = Node(1, "FIN-1", "Hubs" if is_hub else "FIN", is_hub, tuple(addresses), number,
                () if is_hub else tuple(prefixes), "FIN-1")  # fmt: skip
    key = new_key()
    draft = node_certificate(node, key.public_key(), CA, Settings(resources_in=place), networks, NOW)
    read = read_certificate(draft.sign(KEY, digest_for(KEY)).public_bytes(Encoding.DER))
    assert isinstance(read, Certificate)
    blocks = merged(networks.sites) if is_hub else merged(prefixes)
    if place is not ResourcesIn.EXTENSIONS:
        subject = read.resources[Source.SUBJECT]
        assert values(subject.protocol_addresses) == tuple(addresses)
        assert values(subject.as_numbers) == (AsRange(number, number),)
        assert values(subject.prefixes) == (() if is_hub else blocks)
    if place is not ResourcesIn.SUBJECT:
        assert values(read.resources[Source.SUBJECT_ALT_NAME].protocol_addresses) == tuple(addresses)
        assert values(read.resources[Source.RFC3779].as_numbers) == (AsRange(number, number),)
        assert values(read.resources[Source.RFC3779].prefixes) == blocks
        assert [claim.value for claim in read.resources[Source.DMVPN_CA].roles] == [
            Role.HUB if is_hub else Role.SPOKE
        ]
    assert all(claim.value is not None for one in read.resources.values() for claim in one.prefixes)
    assert read.lookalikes == ()


@given(st.lists(network(4) | network(6), min_size=1, max_size=20))
def test_address_blocks_are_canonical(networks: list[Network]) -> None:
    """Ascending, without overlaps, and contiguous ones joined; pyasn1 reads the same bytes."""
    der = address_blocks(networks).value
    claims, inherits = read_address_blocks(der)
    assert values(claims) == merged(networks)
    assert not inherits
    decoded, rest = decode(der, asn1Spec=rfc3779.IPAddrBlocks())
    assert not rest
    assert len(decoded) == len({one.version for one in networks})


@given(st.lists(st.tuples(NUMBERS, NUMBERS).map(lambda pair: AsRange(min(pair), max(pair))), min_size=1, max_size=10))
def test_as_numbers_are_canonical(ranges: list[AsRange]) -> None:
    """As a set they are the same, and contiguous ones are joined."""
    der = as_identifiers(ranges).value
    claims, _ = read_as_identifiers(der)
    found = values(claims)
    assert all(one.high + 1 < other.low for one, other in pairwise(found))
    for one in ranges:
        assert any(outer.low <= one.low and one.high <= outer.high for outer in found)
    for outer in found:
        assert any(one.low == outer.low for one in ranges)
    assert not decode(der, asn1Spec=rfc3779.ASIdentifiers())[1]
