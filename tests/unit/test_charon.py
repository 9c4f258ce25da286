"""charon's sections to core values, and into what nhrpd reads."""

from ipaddress import ip_address

import pytest

from dmvpn_agent.core.sa import ChildSa, IkeSa, circuits
from dmvpn_agent.wire.charon import NHRPD_MAX_CERTIFICATE, ike_ids, parse_ike_sas, rekeyed_spis, render_for_nhrpd
from dmvpn_agent.wire.vici import Packet, PacketType, Section, ViciError, decode, encode
from fakes.charon import FakeSa

SA = FakeSa(7, "203.0.113.2", "CN=spoke1", children={3: "INSTALLED"})
PARSED = IkeSa(
    unique_id=7,
    name="dmvpn",
    state="ESTABLISHED",
    local_host=ip_address("203.0.113.1"),
    remote_host=ip_address("203.0.113.2"),
    remote_port=500,
    local_id="CN=hub",
    remote_id="CN=spoke1",
    initiator_spi="0000000000000007",
    responder_spi="7000000000000000",
    children=(ChildSa(3, "dmvpn", "INSTALLED"),),
)


def _received(message: Section) -> Section:
    return decode(encode(Packet(PacketType.EVENT, "x", message))[4:]).message


def test_an_ike_sa_is_read() -> None:
    """Identities, addresses, SPIs and CHILD_SAs."""
    assert list(parse_ike_sas(_received({"dmvpn": SA.section()}))) == [PARSED]


def test_an_ike_sa_without_addresses_is_left_out() -> None:
    """charon lists one that is still being set up, with %any."""
    assert list(parse_ike_sas(_received({"dmvpn": SA.section(**{"remote-host": "%any"})}))) == []


@pytest.mark.parametrize("change", [{"uniqueid": "x"}, {"remote-host": "nowhere"}, {"remote-port": "many"}])
def test_what_is_no_ike_sa_is_an_error(change: dict[str, str]) -> None:
    """Nothing is guessed."""
    with pytest.raises(ViciError):
        list(parse_ike_sas(_received({"dmvpn": SA.section(**change)})))


def test_an_event_names_its_ike_sa() -> None:
    """``up`` beside the section is passed over."""
    assert ike_ids(_received({"up": "yes", "dmvpn": SA.section()})) == {7}


def test_a_rekeying_names_both_ike_sas() -> None:
    """In ``ike-rekey`` they stand one section deeper."""
    after = FakeSa(8, SA.remote_host, SA.remote_id)
    message = _received({"dmvpn": {"old": SA.section(), "new": after.section()}})
    assert ike_ids(message) == {7, 8}
    assert rekeyed_spis(message) == ("0000000000000007:7000000000000000", "0000000000000008:8000000000000000")


@pytest.mark.parametrize("state", ["CREATED", "ROUTED", "INSTALLING", "REKEYED", "DELETING", "DELETED", "DESTROYING"])
def test_a_child_that_carries_no_traffic_is_no_circuit(state: str) -> None:
    """A REKEYED one was replaced by another."""
    sa = FakeSa(7, "203.0.113.2", "CN=spoke1", children={3: state})
    assert circuits(parse_ike_sas(_received({"dmvpn": sa.section()}))) == {}


def test_nhrpd_finds_the_certificates_before_it_acts() -> None:
    """It reads from the top and acts where the CHILD_SA ends: what comes later would be lost."""
    section = render_for_nhrpd(PARSED, PARSED.children[0], b"L", b"R")["dmvpn"]
    keys = list(section)
    assert keys.index("local-cert-data") < keys.index("child-sas")
    assert keys.index("remote-cert-data") < keys.index("child-sas")
    assert keys[-1] == "child-sas"


def test_a_certificate_that_nhrpd_cannot_hold_is_sent_empty() -> None:
    """It would keep the former peer's otherwise; an empty one denies."""
    largest, larger = bytes(NHRPD_MAX_CERTIFICATE), bytes(NHRPD_MAX_CERTIFICATE + 1)
    section = render_for_nhrpd(PARSED, PARSED.children[0], larger, largest)["dmvpn"]
    assert (section["local-cert-data"], section["remote-cert-data"]) == (b"", largest)
