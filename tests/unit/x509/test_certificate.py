"""A certificate is read into what the policy uses."""

from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from certificates import (
    BLOCKS,
    BLOCKS_V2,
    BMP,
    COMMON_NAME,
    HUB_HOSTS,
    IA5,
    IS_HUB,
    NUMBERS,
    NUMBERS_V2,
    ORGANIZATION,
    PRINTABLE,
    SUBJECT_ALT_NAME,
    T61,
    TRUE,
    UNIT,
    UTF8,
    alternatives,
    attribute,
    bits,
    blocks,
    der,
    extension,
    integer,
    name,
    numbers,
    read,
    sequence,
    tlv,
    units,
)
from dmvpn_agent.addresses import AsRange
from dmvpn_agent.x509.certificate import BadCertificate, Certificate, Claim, Inheritable, Resources, Role, Source
from dmvpn_agent.x509.certificate_reader import MAX_CERTIFICATE_BYTES, read_certificate
from dmvpn_agent.x509.claims import MAX_CLAIMS, escaped
from factories import NOW, YEAR
from factories import der as issued

ADDRESS = ip_address("10.255.0.2")


def _subject(*texts: str) -> Resources:
    return read(units(*texts)).resources.get(Source.SUBJECT, Resources())


def _values(claims: tuple[Claim[Any], ...]) -> list[Any]:
    return [claim.value for claim in claims]


def test_claims_are_read_in_order() -> None:
    """Other OUs are ignored; each claim keeps its field and its text."""
    found = _subject(
        "site 7", "NET=192.168.1.0/24", "GRE=10.255.0.2", "GREAT=1", "NET=192.168.2.0/24", "AS=64512", "Hubs"
    )
    assert _values(found.prefixes) == [ip_network("192.168.1.0/24"), ip_network("192.168.2.0/24")]
    assert _values(found.protocol_addresses) == [ADDRESS]
    assert found.as_numbers == (Claim("OU AS", "AS=64512", AsRange(64512, 64512)),)
    assert found.roles == (Claim("OU", "Hubs", Role.HUB),)


@pytest.mark.parametrize(
    ("tag", "encoding"), [(UTF8, "utf-8"), (PRINTABLE, "ascii"), (T61, "latin-1"), (BMP, "utf-16-be")]
)
def test_every_string_type_gives_the_same_text(tag: int, encoding: str) -> None:
    """Old and new CAs use different types."""
    found = read(name(attribute(UNIT, "GRE=10.255.0.2".encode(encoding), tag))).resources
    assert _values(found[Source.SUBJECT].protocol_addresses) == [ADDRESS]


def test_ous_in_one_rdn_count_like_others() -> None:
    """A multi-valued RDN is a set of attributes."""
    rdn = tlv(0x31, attribute(UNIT, "AS=64512"), attribute(UNIT, "GRE=10.255.0.2"))
    found = read(sequence(rdn)).resources[Source.SUBJECT]
    assert (_values(found.as_numbers), _values(found.protocol_addresses)) == ([AsRange(64512, 64512)], [ADDRESS])


def test_a_t61_string_that_is_not_ascii_is_latin_1() -> None:
    """Old certificates stay readable, and the octets are kept."""
    certificate = read(name(attribute(COMMON_NAME, b"Z\xfcrich", T61)))
    assert certificate.subject == "CN=Z\\xfcrich"
    assert b"Z\xfcrich" in certificate.subject_name


def test_the_validity_is_aware() -> None:
    """Times can be compared with the agent's clock."""
    certificate = read_certificate(issued())
    assert isinstance(certificate, Certificate)
    assert (certificate.not_before, certificate.not_after) == (NOW - YEAR, NOW + YEAR)


@pytest.mark.parametrize(
    "text",
    ["10.0.0.1 ", " 10.0.0.1", "10.0.0.01", "010.0.0.1", "10.0.0", "", "167772161", "10.0.0.1/32", "10.0.0.1\n",
     "１0.0.0.1", "10.0.0.1\x00", "fe80::1%eth0", "2001:DB8:0::1", "::ffff:10.0.0.1", "::ffff:a00:1",
     "0x0a.0.0.1", "10.0.0.1:80", "[::1]", "::1 ", "10.0.0.²", "٠.0.0.1"],
)  # fmt: skip
def test_an_address_in_another_form_is_no_address(text: str) -> None:
    """The claim has no value, so the policy denies it and does not ignore it."""
    assert _values(_subject(f"GRE={text}").protocol_addresses) == [None]


@pytest.mark.parametrize(
    "text",
    ["192.168.1.1/24", "192.168.1.0", "192.168.1.0/024", "192.168.1.0/255.255.255.0", "192.168.1.0/0.0.0.255",
     "192.168.1.0/33", "192.168.1.0/+24", "192.168.1.0/24 ", "192.168.1.0/24/24", "192.168.1.0/", "/24", "",
     "192.168.1.0/２4", "192.168.001.0/24", "2001:db8::/129", "2001:db8:0::/48", "2001:db8::1/48",
     "::ffff:10.0.0.0/104", "::ffff:a00:0/104", "fe80::%1/64", "192.168.1/24"],
)  # fmt: skip
def test_a_prefix_in_another_form_is_no_prefix(text: str) -> None:
    """Nothing is rounded, completed or translated."""
    assert _values(_subject(f"NET={text}").prefixes) == [None]


@pytest.mark.parametrize(
    "text",
    [
        "+1",
        "1_0",
        "٣",
        "1.1",
        "0x10",
        "99999999999",
        "-1",
        "",
        "0",
        "00",
        "01",
        "4294967296",
        "1 ",
        " 1",
        "1-2",
        "1\n",
    ],
)
def test_an_as_number_is_plain_decimal(text: str) -> None:
    """Other spellings that Python accepts are malformed."""
    assert _values(_subject(f"AS={text}").as_numbers) == [None]


@pytest.mark.parametrize("number", [1, 23456, 65535, 4294967295])
def test_reserved_as_numbers_are_numbers(number: int) -> None:
    """The policy refuses them, with a reason of their own."""
    assert _values(_subject(f"AS={number}").as_numbers) == [AsRange(number, number)]


def test_the_key_is_compared_whole_and_as_written() -> None:
    """``gre=``, ``GRE =``, ``XGRE=`` and ``hubs`` name nothing."""
    others = ("gre=10.0.0.1", "GRE =10.0.0.1", "XGRE=10.0.0.1", "GRE", "hubs", "Hubs ", "OU=Hubs", "Hubs=")
    assert Source.SUBJECT not in read(units(*others)).resources


def test_attributes_other_than_ou_name_no_resources() -> None:
    """``CN=GRE=10.255.0.2`` is a name."""
    subject = name(attribute(COMMON_NAME, "GRE=10.255.0.2"), attribute(ORGANIZATION, "Hubs"))
    assert read(subject).resources == {}


def test_ipv6_is_read_in_either_case() -> None:
    """Upper-case hexadecimal is the same canonical address."""
    found = _subject("GRE=2001:DB8::1", "NET=2001:DB8:1::/48")
    assert _values(found.protocol_addresses) == [ip_address("2001:db8::1")]
    assert _values(found.prefixes) == [ip_network("2001:db8:1::/48")]


def test_addresses_in_subject_alt_name_are_protocol_addresses() -> None:
    """Its other names are no resources."""
    v6 = ip_address("2001:db8::1").packed
    names = alternatives((2, b"10.0.0.9"), (7, ADDRESS.packed), (1, b"a@b.example"), (7, v6))
    found = read(extensions=[extension(SUBJECT_ALT_NAME, names)]).resources
    assert set(found) == {Source.SUBJECT_ALT_NAME}
    assert found[Source.SUBJECT_ALT_NAME].protocol_addresses == (
        Claim("subjectAltName IP", "10.255.0.2", ADDRESS),
        Claim("subjectAltName IP", "2001:db8::1", ip_address("2001:db8::1")),
    )


def test_a_masked_or_mapped_address_in_subject_alt_name_is_malformed() -> None:
    """A mask belongs only in name constraints, and mapped IPv6 is IPv4."""
    names = alternatives((7, bytes([10, 0, 0, 0, 255, 0, 0, 0])), (7, bytes(10) + b"\xff\xff" + ADDRESS.packed))
    (found,) = read(extensions=[extension(SUBJECT_ALT_NAME, names)]).resources.values()
    assert _values(found.protocol_addresses) == [None, None]


@pytest.mark.parametrize("critical", [False, True])
@pytest.mark.parametrize(("block_oid", "number_oid"), [(BLOCKS, NUMBERS), (BLOCKS_V2, NUMBERS_V2)])
def test_rfc_3779_extensions_are_read_critical_or_not_in_both_versions(
    block_oid: str, number_oid: str, critical: bool
) -> None:
    """RFC 8360 has the same syntax under other OIDs."""
    parts = [
        extension(block_oid, blocks(bits(0, "c0a801")), critical),
        extension(number_oid, sequence(tlv(0xA0, b"\x05\x00")), critical),
    ]
    (found,) = read(extensions=parts).resources.values()
    assert found == Resources(
        prefixes=(Claim("IPAddrBlocks", "192.168.1.0/24", ip_network("192.168.1.0/24")),),
        inherits=frozenset({Inheritable.AS_NUMBER}),
    )


def test_two_versions_of_an_extension_must_agree() -> None:
    """A second version may serve old readers, but must name the same."""
    one, other = blocks(bits(0, "c0a801")), blocks(bits(0, "c0a802"))
    both = [extension(BLOCKS, one), extension(BLOCKS_V2, one)]
    assert _values(read(extensions=both).resources[Source.RFC3779].prefixes) == [ip_network("192.168.1.0/24")]
    assert read_certificate(der(extensions=[extension(BLOCKS, one), extension(BLOCKS_V2, other)])) == BadCertificate(
        f"extensions {BLOCKS} and {BLOCKS_V2} differ"
    )
    as_numbers = [extension(NUMBERS, numbers(integer(1))), extension(NUMBERS_V2, numbers(integer(2)))]
    assert isinstance(read_certificate(der(extensions=as_numbers)), BadCertificate)


@pytest.mark.parametrize(("value", "text", "role"), [(b"\xff", "TRUE", Role.HUB), (b"\x00", "FALSE", Role.SPOKE)])
def test_dmvpn_cas_extension_names_the_role(value: bytes, text: str, role: Role) -> None:
    """FALSE is a claim too: it can contradict another source."""
    (found,) = read(extensions=[extension(IS_HUB, tlv(1, value))]).resources.values()
    assert found == Resources(roles=(Claim("dmvpn-ca hub", text, role),))


@pytest.mark.parametrize(
    "value", [b"", b"\x01\x01\x01", b"\x01\x00", b"\x02\x01\xff", TRUE + b"\x00", b"\x01\x02\xff\xff"]
)
def test_a_malformed_role_is_a_claim_without_value(value: bytes) -> None:
    """A BOOLEAN other than DER's TRUE or FALSE is neither."""
    (found,) = read(extensions=[extension(IS_HUB, value)]).resources.values()
    assert _values(found.roles) == [None]


def test_hub_hosts_are_read_for_people() -> None:
    """They entitle to nothing, and are safe on a terminal."""
    hosts = sequence(tlv(IA5, b"hub1.example"), tlv(IA5, b"\x1b[2J"))
    certificate = read(extensions=[extension(HUB_HOSTS, hosts, critical=True)])
    assert certificate.hub_hosts == ("hub1.example", "\\x1b[2J")
    assert certificate.resources == {}


@pytest.mark.parametrize("value", [b"", sequence(tlv(UTF8, b"hub")), sequence(*[tlv(IA5, b"")] * (MAX_CLAIMS + 1))])
def test_malformed_hub_hosts_make_a_bad_certificate(value: bytes) -> None:
    """Nothing else in such a certificate is trusted."""
    assert isinstance(read_certificate(der(extensions=[extension(HUB_HOSTS, value)])), BadCertificate)


def test_sources_do_not_mix() -> None:
    """The policy decides which of them count."""
    parts = [
        extension(SUBJECT_ALT_NAME, alternatives((7, ADDRESS.packed))),
        extension(BLOCKS, blocks(bits(0, "c0a801"))),
        extension(IS_HUB, TRUE),
    ]
    found = read(units("GRE=10.255.0.9"), extensions=parts).resources
    assert set(found) == {Source.SUBJECT, Source.SUBJECT_ALT_NAME, Source.RFC3779, Source.DMVPN_CA}
    assert _values(found[Source.SUBJECT].protocol_addresses) == [ip_address("10.255.0.9")]


def test_an_unknown_critical_extension_makes_a_bad_certificate() -> None:
    """RFC 5280, section 4.2; one that is not critical is ignored."""
    assert read_certificate(der(extensions=[extension("1.2.3.4", b"", critical=True)])) == BadCertificate(
        "critical extension 1.2.3.4 is unknown"
    )
    assert read(extensions=[extension("1.2.3.4", b"")]).resources == {}


def test_names_are_given_in_der_and_for_people() -> None:
    """The issuer's name has the octets of the subject in the CA's certificate."""
    subject = name(attribute(ORGANIZATION, "a, OU=b\\"), attribute("1.2.3.4", b"\x00\x01", 0x04))
    certificate = read(subject)
    assert certificate.subject == "O=a\\2C OU=b\\5C, 1.2.3.4=#0001"
    assert certificate.subject_name == subject
    assert certificate.issuer == "CN=test CA"
    assert certificate.issuer_name == name(attribute(COMMON_NAME, "test CA"))


def test_identities_are_what_charon_would_print() -> None:
    """They are the subject, and the subjectAltNames that cannot be mistaken for another type."""
    v6, compatible = ip_address("2001:db8::1"), ip_address("::102:304")
    names = alternatives(
        *((2, text) for text in (b"spoke1.example", b"*.example", b"CN=hub", b"10.0.0.1", b"a b", b"")),
        *((1, text) for text in (b"a@b.example", b"CN=hub@x", b"nobody")),
        *((7, address.packed) for address in (ADDRESS, v6, compatible)),
    )
    certificate = read(name(attribute(COMMON_NAME, "x")), extensions=[extension(SUBJECT_ALT_NAME, names)])
    expected = {"CN=x", "spoke1.example", "a@b.example", "10.255.0.2", "2001:db8::1"}
    assert set(certificate.identities) == expected


def test_a_subject_whose_printed_form_is_unknown_is_no_identity() -> None:
    """strongSwan has no short name for one of its attributes."""
    assert read(name(attribute("1.2.3.4", "x"))).identities == ()


@pytest.mark.parametrize(
    "subject",
    [name(attribute(UNIT, b"\xff")), name(attribute(UNIT, b"\xff", PRINTABLE)), name(attribute(UNIT, b"\x00", BMP)),
     name(attribute(UNIT, b"\x00GRE=10.0.0.1", 0x03)), name(sequence()), sequence(sequence()), b"\x30\x80\x00\x00"],
)  # fmt: skip
def test_a_subject_that_cannot_be_read_makes_a_bad_certificate(subject: bytes) -> None:
    """An OU that is no text must not be ignored."""
    assert isinstance(read_certificate(der(subject)), BadCertificate)


@pytest.mark.parametrize("data", [b"", b"\x30", bytes(100), issued()[:-1], issued() + b"x", b"\x30\x80" * 1000])
def test_input_that_is_no_certificate_is_a_value(data: bytes) -> None:
    """Broken DER does not raise."""
    assert isinstance(read_certificate(data), BadCertificate)


def test_a_certificate_that_is_too_large_is_not_parsed() -> None:
    """Its size is checked before."""
    assert read_certificate(bytes(MAX_CERTIFICATE_BYTES + 1)) == BadCertificate("longer than 65536 bytes")


def test_the_number_of_claims_is_bounded() -> None:
    """The bound holds for every source."""
    assert read_certificate(der(units(*["x"] * (MAX_CLAIMS + 1)))) == BadCertificate("more than 1000 OUs")
    names = alternatives(*[(7, ADDRESS.packed)] * (MAX_CLAIMS + 1))
    assert read_certificate(der(extensions=[extension(SUBJECT_ALT_NAME, names)])) == BadCertificate(
        "more than 1000 addresses in subjectAltName"
    )


def test_as_many_addresses_as_the_bound_are_read() -> None:
    """The bound itself is allowed."""
    names = alternatives(*[(7, ADDRESS.packed)] * MAX_CLAIMS)
    found = read(extensions=[extension(SUBJECT_ALT_NAME, names)]).resources[Source.SUBJECT_ALT_NAME]
    assert len(found.protocol_addresses) == MAX_CLAIMS


@pytest.mark.parametrize("unit", ["Hu\u200bbs", "\u00adHubs", "\uff28ubs", " HUBS "])
def test_an_ou_that_only_looks_like_a_claim_is_reported(unit: str) -> None:
    """It differs by white space, case, width or invisible characters."""
    assert [claim.value for claim in read(units(unit)).lookalikes] == ["Hubs"]


def test_text_from_outside_is_escaped() -> None:
    """Control and non-ASCII characters are escaped, and long text is cut."""
    assert escaped("a\x1b[2J\nб") == "a\\x1b[2J\\n\\u0431"
    assert escaped("x" * 300) == "x" * 199 + "…"


def test_a_certificate_cannot_write_to_a_terminal() -> None:
    """An escape sequence is escaped in subject, issuer and claim."""
    certificate = read_certificate(der(units("GRE=\x1b[31m10.0.0.1"), issuer=units("\x1b[31m")))
    assert isinstance(certificate, Certificate)
    (claim,) = certificate.resources[Source.SUBJECT].protocol_addresses
    assert "\x1b" not in certificate.subject + certificate.issuer + claim.text
