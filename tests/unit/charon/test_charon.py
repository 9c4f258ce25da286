"""charon's messages as values, and as the sections that nhrpd reads."""

from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmvpn_agent.bridge.nhrpd_sections import NHRPD_MAX_CERTIFICATE, render_for_nhrpd
from dmvpn_agent.charon.events import Alert, ChildChange, SaEvent, SaEventKind, decode_event
from dmvpn_agent.charon.sa import Algorithms, ChildSa, IkeSa, Traffic, addresses, circuits, same_circuit
from dmvpn_agent.charon.sa_reader import parse_ike_sas
from dmvpn_agent.charon.vici import Packet, PacketType, Section, ViciError, decode, encode
from factories import NOW
from fakes.charon import FakeSa

SA = FakeSa(7, "203.0.113.2", "CN=spoke1", children={3: "INSTALLED"}, traffic={3: (100, 2, 300, 4)})
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
    children=(
        ChildSa(
            unique_id=3,
            name="dmvpn",
            state="INSTALLED",
            mode="TRANSPORT",
            protocol="ESP",
            reqid=1,
            spi_in="c0000003",
            spi_out="d0000003",
            algorithms=Algorithms("AES_GCM_16-256"),
            traffic=Traffic(100, 2, 300, 4),
            last_in=NOW - timedelta(seconds=1),
            last_out=NOW - timedelta(seconds=2),
            installed_at=NOW - timedelta(seconds=30),
            rekey_due=NOW + timedelta(seconds=3000),
            expires=NOW + timedelta(seconds=3600),
        ),
    ),
    local_port=500,
    algorithms=Algorithms("AES_GCM_16-256", "", "PRF_HMAC_SHA2_384", ("ECP_384",)),
    established_at=NOW - timedelta(seconds=60),
    rekey_due=NOW + timedelta(seconds=13000),
)
PAIR = addresses(PARSED)


IKE_TIMES = ("established", "rekey-time", "reauth-time")
CHILD_TIMES = ("use-in", "use-out", "install-time", "rekey-time", "life-time")


def _with(child: dict[str, str], **changes: str) -> Section:
    """Return an IKE_SA as charon lists it, with changed values, some of them in its CHILD_SA."""
    return {"dmvpn": SA.section(**changes, **{"child-sas": {"dmvpn-3": SA.child(3) | child}})}


def _received(message: Section) -> Section:
    return decode(encode(Packet(PacketType.EVENT, "x", message))[4:]).message


def test_an_ike_sa_is_read() -> None:
    """All its fields have values."""
    assert list(parse_ike_sas(_received({"dmvpn": SA.section()}), NOW)) == [PARSED]


def test_an_ike_sa_without_addresses_is_left_out() -> None:
    """charon lists an IKE_SA that is being set up with %any."""
    assert list(parse_ike_sas(_received({"dmvpn": SA.section(**{"remote-host": "%any"})}), NOW)) == []


@pytest.mark.parametrize(
    "change",
    [
        {"uniqueid": "x"},
        {"uniqueid": "1" * 5000},
        {"remote-host": "nowhere"},
        {"remote-port": "many"},
        {"established": "an hour"},
        {"established": "9" * 21},
        {"rekey-time": "soon"},
        {"child-sas": "none"},
    ],
)
def test_a_malformed_ike_sa_is_an_error(change: dict[str, str]) -> None:
    """No value is guessed."""
    with pytest.raises(ViciError):
        list(parse_ike_sas(_received({"dmvpn": SA.section(**change)}), NOW))


@pytest.mark.parametrize("seconds", ["-1", "18446744073709551615", "18446744073709551000"])
def test_a_negative_age_counts_as_now(seconds: str) -> None:
    """charon reads the clock before it lists; it prints a negative age as a signed or an unsigned number."""
    child = {"use-in": seconds, "install-time": seconds}
    (sa,) = parse_ike_sas(_received(_with(child, established=seconds)), NOW)
    assert (sa.established_at, sa.children[0].last_in, sa.children[0].installed_at) == (NOW, NOW, NOW)


@given(st.sampled_from((*IKE_TIMES, *CHILD_TIMES)), st.integers(-(2**63), 2**64 - 1))
def test_no_time_that_charon_can_print_makes_an_ike_sa_unreadable(key: str, seconds: int) -> None:
    """A time out of the calendar's range is ``None``."""
    printed = {key: str(seconds)}
    message = _with({}, **printed) if key in IKE_TIMES else _with(printed)
    assert len(list(parse_ike_sas(_received(message), NOW))) == 1


def test_an_overdue_rekeying_is_in_the_past() -> None:
    """charon prints a negative number of seconds."""
    (sa,) = parse_ike_sas(_received({"dmvpn": SA.section(**{"rekey-time": "-5", "reauth-time": "9"})}), NOW)
    assert sa.rekey_due == NOW - timedelta(seconds=5)
    assert sa.replacement_due == sa.rekey_due


def test_combined_algorithms_are_all_named() -> None:
    """strongSwan 6 combines key exchanges (RFC 9370); SAs with the same algorithms share one value."""
    changes = {"integ-alg": "HMAC_SHA2_256_128", "encr-alg": "AES_CBC", "ake1": "ML_KEM_768", "nat-remote": "yes"}
    one, other = (next(parse_ike_sas(_received({"dmvpn": SA.section(**changes)}), NOW)) for _ in range(2))
    assert str(one.algorithms) == "AES_CBC-256/HMAC_SHA2_256_128/PRF_HMAC_SHA2_384/ECP_384/ML_KEM_768"
    assert one.algorithms is other.algorithms
    assert (one.nat_local, one.nat_remote) == (False, True)


def test_a_circuit_is_the_same_while_only_times_and_counts_change() -> None:
    """Another address makes it another circuit."""
    (later,) = parse_ike_sas(_received({"dmvpn": SA.section(established="90")}), NOW)
    (moved,) = parse_ike_sas(_received({"dmvpn": SA.section(**{"remote-host": "203.0.113.9"})}), NOW)
    here = (PARSED, PARSED.children[0])
    assert same_circuit(here, (later, later.children[0]))
    assert not same_circuit(here, (moved, moved.children[0]))


def _event(name: str, message: Section) -> SaEvent:
    event = decode_event(name, _received(message), {"dmvpn"}, NOW)
    assert isinstance(event, SaEvent)
    return event


def test_the_last_counts_of_a_rekeyed_child_are_read() -> None:
    """The old and the new CHILD_SA lie one section deeper, the old one first."""
    pair = {"old": SA.child(3), "new": FakeSa(7, "203.0.113.2", "", children={4: "INSTALLED"}).child(4)}
    event = _event("child-rekey", {"dmvpn": SA.section(**{"child-sas": {"dmvpn": pair}})})
    (sa,) = event.ike_sas
    assert [(child.unique_id, child.traffic.bytes_in) for child in sa.children] == [(3, 100), (4, 0)]
    assert event.kind is SaEventKind.CHILD_REKEYED
    assert event.child_changes == (ChildChange(4, True, PAIR), ChildChange(3, False, PAIR))


@pytest.mark.parametrize(
    ("name", "up", "kind"),
    [
        ("ike-updown", True, SaEventKind.IKE_ESTABLISHED),
        ("ike-updown", False, SaEventKind.IKE_CLOSED),
        ("child-updown", True, SaEventKind.CHILD_INSTALLED),
        ("child-updown", False, SaEventKind.CHILD_CLOSED),
        ("ike-update", False, SaEventKind.IKE_MOVED),
        ("child-state-installed", False, None),
    ],
)
def test_an_event_tells_what_happened(name: str, up: bool, kind: SaEventKind | None) -> None:
    """``up`` lies beside the IKE_SA's section; charon leaves it out when an SA goes down."""
    event = _event(name, {**({"up": "yes"} if up else {}), "dmvpn": SA.section()})
    changes = (ChildChange(3, up, PAIR),) if name == "child-updown" else ()
    assert event == SaEvent(kind, True, (PARSED,), frozenset({7}), changes)


@pytest.mark.parametrize("connection", ["office", "(unnamed)"])
def test_an_event_about_another_connection_is_empty(connection: str) -> None:
    """Its IKE_SAs are not read; nor are those of a new IKE_SA whose connection charon has not chosen yet."""
    event = _event("child-updown", {"up": "yes", connection: SA.section(uniqueid="x")})
    assert event == SaEvent(SaEventKind.CHILD_INSTALLED, ours=False)


def test_an_event_that_cannot_be_read_tells_the_problem_and_the_ids() -> None:
    """Its IKE_SAs are listed again."""
    event = _event("child-updown", {"up": "yes", "dmvpn": SA.section(**{"remote-host": "nowhere"})})
    assert "nowhere" in event.problem
    assert replace(event, problem="") == SaEvent(
        SaEventKind.CHILD_INSTALLED, ours=True, ike_ids=frozenset({7}), child_changes=(ChildChange(3, came=True),)
    )


def test_an_alert_names_its_ike_sa_if_it_has_one() -> None:
    """The IKE_SA lies under ``ike-sa``, by its connection's name."""
    message = {"type": "cert-expired", "ike-sa": {"office": SA.section()}}
    alert = decode_event("alert", _received(message), {"dmvpn"}, NOW)
    assert alert == Alert("cert-expired", replace(PARSED, name="office"))
    assert decode_event("alert", _received({"type": "shutdown-signal"}), set(), NOW) == Alert("shutdown-signal")


def test_a_rekeying_names_both_ike_sas() -> None:
    """They lie one section deeper; the new one comes last."""
    after = FakeSa(8, SA.remote_host, SA.remote_id)
    event = _event("ike-rekey", {"dmvpn": {"old": SA.section(), "new": after.section()}})
    assert event.kind is SaEventKind.IKE_REKEYED
    assert event.ike_ids == {7, 8}
    assert [sa.unique_id for sa in event.ike_sas] == [7, 8]
    assert event.rekeyed == ("0000000000000007:7000000000000000", "0000000000000008:8000000000000000")


@pytest.mark.parametrize(
    ("name", "state", "precedes"),
    [
        ("ike-updown", "ESTABLISHED", True),
        ("ike-update", "CONNECTING", True),
        ("ike-update", "ESTABLISHED", False),
        ("child-updown", "ESTABLISHED", False),
    ],
)
def test_an_ike_sa_that_just_came_has_no_child_yet(name: str, state: str, precedes: bool) -> None:
    """charon raises ``child-updown`` once it has."""
    sa = FakeSa(7, "203.0.113.2", "CN=spoke1", state=state)
    assert _event(name, {"up": "yes", "dmvpn": sa.section()}).precedes_child is precedes


@pytest.mark.parametrize("state", ["CREATED", "ROUTED", "INSTALLING", "REKEYED", "DELETING", "DELETED", "DESTROYING"])
def test_a_child_sa_without_traffic_is_no_circuit(state: str) -> None:
    """Another CHILD_SA replaced a REKEYED one."""
    sa = FakeSa(7, "203.0.113.2", "CN=spoke1", children={3: state})
    assert circuits(parse_ike_sas(_received({"dmvpn": sa.section()}), NOW)) == {}


def test_the_certificates_precede_the_child_sas_in_nhrpds_section() -> None:
    """nhrpd reads from the top and acts at the end of a CHILD_SA: later fields would be ignored."""
    section = render_for_nhrpd(PARSED, PARSED.children[0], b"L", b"R")["dmvpn"]
    keys = list(section)
    assert keys.index("local-cert-data") < keys.index("child-sas")
    assert keys.index("remote-cert-data") < keys.index("child-sas")
    assert keys[-1] == "child-sas"


def test_a_certificate_too_long_for_nhrpd_is_sent_empty() -> None:
    """Otherwise nhrpd would keep the former peer's; with an empty one the agent denies."""
    largest, larger = bytes(NHRPD_MAX_CERTIFICATE), bytes(NHRPD_MAX_CERTIFICATE + 1)
    section = render_for_nhrpd(PARSED, PARSED.children[0], larger, largest)["dmvpn"]
    assert (section["local-cert-data"], section["remote-cert-data"]) == (b"", largest)
