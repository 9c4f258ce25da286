"""Failures to authenticate in charon's log, as strongSwan 5.9.8 and 6.0.1 write it."""

from ipaddress import ip_address

import pytest

from dmvpn_agent.charon.failure_log import REMEMBERED, Failure, FailureLog, may_matter
from dmvpn_agent.charon.vici import Packet, PacketType, encode

PEER = ip_address("203.0.113.2")
BEGUN = ("IKE", f"{PEER} is initiating an IKE_SA")
ASKED = ("CFG", f"looking for peer configs matching 203.0.113.1[%any]...{PEER}[O=x, CN=evil]")
ESTABLISHED = ("IKE", f"IKE_SA dmvpn[7] established between 203.0.113.1[CN=hub]...{PEER}[CN=evil]")
ANSWERED = ("ENC", "generating IKE_AUTH response 1 [ N(AUTH_FAILED) ]")


def _read(log: FailureLog, *messages: tuple[str, str], key: int = 7) -> list[Failure]:
    """Return the failures in some messages about one IKE_SA."""
    events = [{"group": group, "msg": said, "ikesa-uniqueid": str(key)} for group, said in messages]
    decoded = [{name: value.encode() for name, value in event.items()} for event in events]
    return [failure for one in decoded if (failure := log.read(one))]


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (("CFG", 'no issuer certificate found for "CN=evil"'), "cert-no-issuer"),
        (
            ("CFG", "subject certificate invalid (valid from Nov 21 13:13:02 2026 to Nov 22 13:13:02 2026)"),
            "cert-expired",
        ),
        (("CFG", "certificate was revoked on Nov 21 13:13:02 UTC 2026, reason: unspecified"), "cert-revoked"),
        (("LIB", 'self-signed certificate "CN=evil" is not trusted'), "cert-untrusted-root"),
        (("CFG", "path length of 1 violates constraint of 0"), "cert-exceeded-path-len"),
        (("IKE", "tried 1 shared key for '%any' - 'spoke2', but MAC mismatched"), "peer-auth-failed"),
    ],
)
def test_the_cause_is_named_once_this_node_refuses(said: tuple[str, str], kind: str) -> None:
    """With the address that charon saw and the identity that the peer claimed."""
    log = FailureLog()
    assert _read(log, BEGUN, ASKED, said) == []
    assert _read(log, ANSWERED) == [Failure(kind, PEER, "O=x, CN=evil")]
    assert _read(log, ANSWERED) == []


def test_a_peer_that_refuses_this_node_is_one_too() -> None:
    """Of an IKE_SA that this node began, there is no claim."""
    messages = [
        ("IKE", f"initiating IKE_SA dmvpn[6] to {PEER}"),
        ("ENC", "parsed IKE_AUTH response 1 [ N(AUTH_FAILED) ]"),
        ("IKE", "received AUTHENTICATION_FAILED notify error"),
    ]
    assert _read(FailureLog(), *messages) == [Failure("local-auth-failed", PEER, "")]


@pytest.mark.parametrize(
    "messages",
    [
        (BEGUN, ("IKE", "received proposals unacceptable")),
        (("IKE", f"initiating IKE_SA dmvpn[6] to {PEER}"), ("IKE", "received NO_PROPOSAL_CHOSEN notify error")),
    ],
)
def test_proposals_without_a_common_one_are_a_cause_too(messages: tuple[tuple[str, str], ...]) -> None:
    """There is no claim yet; an older cause of the same address no longer counts."""
    assert _read(FailureLog(), *messages) == [Failure("proposal-mismatch-ike", PEER, "")]


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("no acceptable proposal found", "proposal-mismatch-child"),
        ("received NO_PROPOSAL_CHOSEN notify, no CHILD_SA built", "proposal-mismatch-child"),
        ("traffic selectors 10.0.0.1/32 === 10.0.0.2/32 unacceptable", "ts-mismatch"),
        ("received TS_UNACCEPTABLE notify, no CHILD_SA built", "ts-mismatch"),
    ],
)
def test_an_ike_sa_without_child_sa_has_a_cause(said: str, kind: str) -> None:
    """Once charon gives the CHILD_SA up."""
    log = FailureLog()
    assert _read(log, BEGUN, ASKED, ESTABLISHED, ("IKE", said)) == []
    given_up = ("IKE", "failed to establish CHILD_SA, keeping IKE_SA")
    assert _read(log, given_up) == [Failure(kind, PEER, "O=x, CN=evil")]
    assert _read(log, given_up) == []


def test_an_ike_sa_that_was_established_cannot_fail() -> None:
    """Its unique id may be used again."""
    log = FailureLog()
    assert _read(log, BEGUN, ASKED, ESTABLISHED, ANSWERED) == []


@pytest.mark.parametrize(
    "identity",
    [
        "CN=x]...198.51.100.9[CN=victim",
        "CN=N(AUTH_FAILED)",
        "CN=certificate was revoked on",
        "198.51.100.9 is initiating an IKE_SA",
    ],
)
def test_what_a_peer_sends_is_never_taken_for_charons_words(identity: str) -> None:
    """Not for an address, nor for a cause."""
    asked = ("CFG", f"looking for peer configs matching 203.0.113.1[{identity}]...{PEER}[{identity}]")
    quoted = ("CFG", f'no issuer certificate found for "{identity}"')
    shown = ("CFG", f'  using certificate "{identity}"')
    log = FailureLog()
    assert _read(log, BEGUN, asked, shown, quoted) == []
    (failure,) = _read(log, ANSWERED)
    assert failure[:2] == ("cert-no-issuer", PEER)


def test_few_ike_sas_are_remembered() -> None:
    """Anybody can begin one."""
    log = FailureLog()
    for key in range(REMEMBERED + 5):
        _read(log, BEGUN, key=key)
    assert _read(log, ANSWERED, key=4) == []
    assert len(_read(log, ANSWERED, key=5)) == 1


def test_only_packets_that_may_matter_are_decoded() -> None:
    """The many messages of a healthy node are not."""
    for said, matters in (
        (BEGUN, True),
        (ASKED, True),
        (ANSWERED, True),
        (("ENC", "parsed INFORMATIONAL request 2 [ ]"), False),
    ):
        packet = encode(Packet(PacketType.EVENT, "log", {"group": said[0], "msg": said[1]}))
        assert may_matter(packet) is matters
