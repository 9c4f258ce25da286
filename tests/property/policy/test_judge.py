"""Decisions on certificates with any content."""

from ipaddress import IPv4Network, ip_address, ip_network

from hypothesis import example, given
from hypothesis import strategies as st

from dmvpn_agent.addresses import RESERVED_AS_NUMBERS
from dmvpn_agent.policy.decision import Accept, Deny
from dmvpn_agent.x509.certificate import BadCertificate, Certificate
from dmvpn_agent.x509.certificate_reader import read_certificate
from factories import ADDRESS, RULES, decide, der, request

ADDRESSES = st.sampled_from(
    ["10.255.0.2", "10.255.0.20", "10.255.0.2 ", " 10.255.0.2", "10.255.0.02", "010.255.0.2", "::ffff:10.255.0.2",
     "10.255.0.2/32", "10.255.0.2\n", "10.255.0.2\x00", "10.255.0.２", "1О.255.0.2", "0x0aff0002", "184483842",
     "10.255.2", "10.255.0.2%eth0", "fe80::2%gre1", "", "*", "0.0.0.0", "10.255.0.2=", "10.255.0.2,10.255.0.3"]
)  # fmt: skip
NUMBERS = st.sampled_from(
    ["64512", "0", "064512", "+64512", "64_512", "٦٤٥١٢", "1.10", "65535", "4294967295", "3320", "", "64512 "]
)
NETWORKS = st.sampled_from(
    ["192.168.1.0/24", "192.168.0.0/16", "192.168.0.0/15", "192.168.1.1/24", "192.168.1.0", "0.0.0.0/0", "::/0",
     "10.255.0.0/25", "192.168.1.0/24 ", "192.168.1.0/255.255.255.0", "192.168.001.0/24", "::ffff:192.168.1.0/120",
     "fe80::%gre1/64", "192.168.1.0/33"]
)  # fmt: skip
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
UNIT = st.one_of(
    ADDRESSES.map("GRE={}".format),
    NUMBERS.map("AS={}".format),
    NETWORKS.map("NET={}".format),
    st.builds("{}={}".format, st.sampled_from(["GRE", "AS", "NET", "gre", "GRE ", "ＧRE"]), ANY_TEXT),
    ANY_TEXT,
).filter(bool)
GOOD = ("GRE=10.255.0.2", "AS=64512", "NET=192.168.9.0/24")
#: Anything, and what would be accepted but for one or two units.
UNITS = st.one_of(
    st.lists(st.sampled_from(GOOD) | UNIT, min_size=1, max_size=6).map(tuple),
    st.lists(UNIT, min_size=1, max_size=2).map(lambda odd: (*odd, *GOOD)),
    NETWORKS.map(lambda text: (f"NET={text}", *GOOD)),
    ADDRESSES.map(lambda text: (f"GRE={text}", *GOOD[1:])),
    NUMBERS.map(lambda text: (f"AS={text}", *GOOD[::2])),
)


@given(UNITS)
@example(("GRE=10.255.0.2", "AS=64512"))
@example(("GRE=::ffff:10.255.0.2", "AS=64512"))
def test_an_accepted_peer_has_only_what_its_certificate_names(units: tuple[str, ...]) -> None:
    """No OU raises, and an accepted peer has exactly the resources in the text of its certificate."""
    read = read_certificate(der(units))
    decision = decide(request(certificate=read))
    if isinstance(decision, Deny):
        assert decision.found
        assert decision.expected
        return
    assert isinstance(decision, Accept)
    assert isinstance(read, Certificate)
    peer = decision.peer
    assert peer is not None
    assert peer.protocol_address == ADDRESS
    assert "GRE=10.255.0.2" in units
    assert [unit for unit in units if unit.startswith("AS=")] == [f"AS={peer.as_number}"]
    assert peer.as_number not in RESERVED_AS_NUMBERS
    assert any(low <= (peer.as_number or 0) <= high for low, high in RULES.as_ranges)
    assert {f"NET={prefix}" for prefix in peer.prefixes} == {unit for unit in units if unit.startswith("NET=")}
    for prefix in peer.prefixes:
        assert isinstance(prefix, IPv4Network)
        assert prefix.subnet_of(ip_network("192.168.0.0/16"))  # type: ignore[arg-type]


@given(st.binary(max_size=400) | st.tuples(st.integers(0, 400), st.binary(min_size=1, max_size=4)).map(
    lambda edit: der()[: edit[0]] + edit[1] + der()[edit[0] + len(edit[1]) :]
))  # fmt: skip
def test_any_bytes_are_a_certificate_or_refused(data: bytes) -> None:
    """Reading never raises; subject and reason are printable."""
    read = read_certificate(data)
    shown = read.why if isinstance(read, BadCertificate) else read.subject
    assert shown.isprintable()
    decide(request(certificate=read))


@given(st.ip_addresses(), st.lists(st.ip_addresses(), max_size=3))
def test_an_address_is_accepted_only_if_it_is_named(address: object, named: list[object]) -> None:
    """Addresses are compared, never their texts."""
    units = (*(f"GRE={item}" for item in named), "AS=64512")
    wanted = request(certificate=read_certificate(der(units)), protocol_address=ip_address(str(address)))
    decision = decide(wanted)
    assert isinstance(decision, Deny) or (address in named and address in RULES.tunnel_networks[0])
