"""The joined view: every source's part of a peer in one value, and the stage that it has reached."""

from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address

import pytest

from dmvpn_agent.bgp.sessions import Session
from dmvpn_agent.charon.events import SaEventKind
from dmvpn_agent.charon.ike_peer import ike_peer
from dmvpn_agent.charon.sa import Traffic
from dmvpn_agent.view.peer import Expectation
from dmvpn_agent.view.peer_json import peer_summary
from dmvpn_agent.view.settings import ExpectedPeer
from dmvpn_agent.view.sources import Sources
from dmvpn_agent.view.stage import Stage
from dmvpn_agent.view.stage_sections import sections
from dmvpn_agent.view.track import Track
from factories import NOW, YEAR, certificate, request, spoke_request
from joining import alert, bgp, denial, identity, joined, known_peer, member, nbma, sa, sources

STUCK: dict[str, tuple[Sources, Stage]] = {
    "up": (sources(1), Stage.UP),
    "no IKE_SA": (sources(1, sas=()), Stage.NO_IKE),
    "an IKE_SA that is not established": (sources(1, sas=(sa(1, state="CONNECTING"),)), Stage.NO_IKE),
    "an IKE_SA that failed": (
        sources(1, sas=(), alerts={nbma(1): alert()}),
        Stage.AUTHENTICATION_FAILED,
    ),
    "an IKE_SA that nobody answered": (
        sources(1, sas=(), alerts={nbma(1): alert("retransmit-send-timeout")}),
        Stage.NO_IKE,
    ),
    "no CHILD_SA": (sources(1, sas=(sa(1, child=""),)), Stage.NO_CHILD_SA),
    "a CHILD_SA that is not installed": (sources(1, sas=(sa(1, child="CREATED"),)), Stage.NO_CHILD_SA),
    "no binding": (sources(1, members=(member(1, bound=False),)), Stage.NOT_REGISTERED),
    "an IKE_SA of a peer that never registered": (sources(sas=(sa(1),)), Stage.NOT_REGISTERED),
    "denied": (sources(denials=(denial(1),), sas=(sa(1),)), Stage.DENIED),
    "denied, and its IKE_SA ended": (sources(denials=(denial(1),)), Stage.DENIED),
    "no neighbor": (sources(1, bgp=bgp((member(1),), spoke1=None)), Stage.NO_BGP),
    "a session that is not up": (sources(1, bgp=bgp((member(1),), spoke1="Active")), Stage.NO_BGP),
    "nothing announced": (
        sources(1, bgp=bgp((member(1),), spoke1=Session("Established", 0))),
        Stage.NOTHING_ANNOUNCED,
    ),
    "no prefix of IPv6 either": (
        sources(1, bgp=bgp((member(1),), spoke1=Session("Established", 0, prefixes_ipv6=0))),
        Stage.NOTHING_ANNOUNCED,
    ),
    "prefixes of IPv6 only": (
        sources(1, bgp=bgp((member(1),), spoke1=Session("Established", 0, prefixes_ipv6=2))),
        Stage.UP,
    ),
    "no BGP on this node": (sources(1, bgp=None), Stage.UP),
    "a peer without a session": (sources(1, bgp=bgp(())), Stage.UP),
    "charon away": (sources(1, sas=None), Stage.UNKNOWN),
    "nhrpd away": (sources(1, cache=None), Stage.UNKNOWN),
    "bgpd away": (sources(1, bgp=replace(bgp((member(1),)), sessions=None)), Stage.UNKNOWN),
    "charon away, and no session": (
        sources(1, sas=None, bgp=bgp((member(1),), spoke1="Idle")),
        Stage.NO_BGP,
    ),
    "known, and nothing there": (sources(known=(known_peer(1),)), Stage.NO_IKE),
    "expected, and nothing there": (sources(expected=(ExpectedPeer("spoke1"),)), Stage.NO_IKE),
}  # fmt: skip


@pytest.mark.parametrize("case", STUCK)
def test_a_peer_is_at_the_first_stage_that_it_has_not_passed(case: str) -> None:
    """With words that say what is missing, unless it is up."""
    found, stage = STUCK[case]
    (peer,) = joined(found).values()
    assert (peer.name, peer.stage) == ("spoke1", stage)
    assert bool(peer.why) is (stage is not Stage.UP)


def test_a_session_is_unknown_while_bgpd_cannot_be_read() -> None:
    """Not none, as if bgpd had no neighbor; the text of a peer has no counts then."""
    peer = joined(sources(1, bgp=replace(bgp((member(1),)), sessions=None)))["spoke1"]
    assert peer.bgp is not None
    assert peer.bgp.state == "unknown"
    found = {one.title: one.text for one in sections(peer_summary(peer, NOW), NOW)}
    assert "cannot be read" in found["BGP"]
    assert found["prefixes"].startswith("not known")


def test_a_peer_in_quarantine_says_so_where_peers_are_listed() -> None:
    """It has passed every stage, and yet has no routes."""
    one = member(1)
    shut = replace(one, peer=one.peer.in_quarantine())
    peer = joined(sources(members=(shut,), cache=(shut.request,), sas=(sa(1),), bgp=bgp(())))["spoke1"]
    assert (peer.stage, peer.why.partition(":")[0]) == (Stage.UP, "in quarantine")
    assert "quarantine" in {one.title: one.text for one in sections(peer_summary(peer, NOW), NOW)}["BGP"]
    late = bgp((member(1),), spoke1="Established")
    late = replace(late, neighbors={})
    peer = joined(sources(members=(shut,), cache=(shut.request,), sas=(sa(1),), bgp=late))["spoke1"]
    assert "STILL HAS" in peer.why
    assert "STILL HAS" in {one.title: one.text for one in sections(peer_summary(peer, NOW), NOW)}["BGP"]


def test_all_parts_of_a_peer_are_in_one_value() -> None:
    """Addresses, certificate, decision, IKE_SA, binding and session."""
    peer = joined(sources(1, 2))["spoke2"]
    assert peer.protocol_address == ip_address("10.255.0.2")
    assert peer.nbma_address == nbma(2)
    assert (peer.accepted, peer.denial, peer.as_number) == (True, None, 64514)
    assert [one.unique_id for one in peer.ike_sas] == [2]
    assert [one.type for one in peer.bindings] == ["dynamic"]
    assert peer.bgp is not None
    assert (peer.bgp.state, peer.bgp.accepted, len(peer.bgp.allowed)) == ("Established", 1, 1)
    assert peer.expected is Expectation.NO


def test_a_denied_peer_has_its_reason() -> None:
    """And the time of the denial."""
    peer = joined(sources(denials=(denial(1),)))["spoke1"]
    assert (peer.accepted, peer.decided_at) == (False, NOW)
    assert peer.denial is not None
    assert peer.why == str(peer.denial)


def test_a_failure_to_authenticate_after_a_denial_counts_more() -> None:
    """An earlier one does not."""
    for minutes, stage in ((1, Stage.AUTHENTICATION_FAILED), (-1, Stage.DENIED)):
        alerts = {nbma(1): alert(at=NOW + timedelta(minutes=minutes))}
        assert joined(sources(denials=(denial(1),), alerts=alerts))["spoke1"].stage is stage


def test_an_alert_from_another_address_is_found_by_the_claimed_identity() -> None:
    """A known peer that moved and whose certificate expired has failed to authenticate."""
    known = known_peer(1, subject=identity(1))
    alerts = {ip_address("198.51.100.9"): alert("cert-expired", remote_id=identity(1))}
    peer = joined(sources(known=(known,), alerts=alerts))["spoke1"]
    assert (peer.stage, peer.alert) == (Stage.AUTHENTICATION_FAILED, "cert-expired")


def test_peers_behind_one_nat_have_their_own_ike_sas() -> None:
    """The certificate tells them apart, not the address."""
    behind = tuple(member(number, request=replace(spoke_request(number), nbma_address=nbma(1))) for number in (1, 2))
    sas = tuple(sa(number, remote_host=nbma(1), remote_port=4500 + number) for number in (2, 1))
    peers = joined(sources(members=behind, sas=sas, cache=tuple(one.request for one in behind)))
    assert [[one.unique_id for one in peers[name].ike_sas] for name in ("spoke1", "spoke2")] == [[1], [2]]


def test_an_ike_sa_that_moved_stays_with_its_peer() -> None:
    """MOBIKE changes its address before nhrpd registers again."""
    peer = joined(sources(1, sas=(sa(1, remote_host=ip_address("198.51.100.9")),)))["spoke1"]
    assert len(peer.ike_sas) == 1


def test_ike_sas_of_other_connections_belong_to_no_peer() -> None:
    """Not even at a peer's address."""
    peers = joined(sources(1, sas=(sa(1, name="vpn"),)))
    assert peers["spoke1"].ike_sas == ()
    assert len(peers) == 1


def test_a_peer_with_several_addresses_is_one() -> None:
    """The one with the BGP neighbor is first."""
    first = member(1)
    units = ("GRE=10.255.0.1", "GRE=10.255.0.9", "AS=64513", "NET=192.168.1.0/24")
    both = tuple(
        member(1, request=request(*units, protocol_address=ip_address(one), nbma_address=nbma(1)))
        for one in ("10.255.0.1", "10.255.0.9")
    )
    assert both[0].peer.identity == both[1].peer.identity
    neighbors = {one.peer.protocol_address: both[1].peer for one in both}
    view = replace(bgp((first,)), neighbors=neighbors, sessions={ip_address("10.255.0.9"): Session("Established", 1)})
    (peer,) = joined(sources(members=both, sas=(), bgp=view)).values()
    assert [str(one) for one in peer.protocol_addresses] == ["10.255.0.9", "10.255.0.1"]


def test_the_peers_whose_prefixes_a_peer_drops_are_named() -> None:
    """``peers --json`` and ``peer`` have them, and the text that the page shows too; most peers drop none."""
    members = (member(1), member(2))
    drops = {members[0].peer.protocol_address: tuple(ip_address("10.255.0.2") + at for at in range(10))}
    peers = joined(sources(1, 2, bgp=replace(bgp(members), drops=drops)))
    one, other = (peer_summary(peers[name], NOW) for name in ("spoke1", "spoke2"))
    assert one["bgp"]["drops_prefixes_of"][:2] == ["10.255.0.2", "10.255.0.3"]
    assert (len(one["bgp"]["drops_prefixes_of"]), other["bgp"]["drops_prefixes_of"]) == (10, [])
    texts = [{one.title: one.text for one in sections(peer, NOW)}["prefixes"] for peer in (one, other)]
    assert "drops those of 10.255.0.2, 10.255.0.3, 10.255.0.4" in texts[0]
    assert "drops" not in texts[1]
    del one["bgp"]["drops_prefixes_of"]
    assert sections(one, NOW)


def test_a_peer_without_certificate_is_named_by_its_identity() -> None:
    """As charon prints it, made one word."""
    peers = frozenset({ike_peer("branch 9@example.net", has_certificate=False)})
    denied = denial(1)
    found = replace(denied, request=replace(denied.request, certificate=None, ike_peers=peers))
    assert list(joined(sources(denials=(found,)))) == ["branch_9_example.net"]


def test_a_denied_peer_cannot_take_an_accepted_peers_name() -> None:
    """Nor its IKE_SA, its binding or its place among the expected peers."""
    foreign = replace(certificate("GRE=10.255.0.77", name="spoke1"), identity="another CA's", identities=())
    stranger = replace(denial(2), request=request(certificate=foreign, nbma_address=nbma(7)))
    found = sources(1, denials=(stranger,), expected=(ExpectedPeer("spoke1"),))
    peers = joined(found)
    assert peers["spoke1"].stage is Stage.UP
    assert peers["spoke1"].expected is Expectation.CONFIGURED
    assert peers["spoke1-gre1"].stage is Stage.DENIED


def test_an_expected_peer_is_found_by_name_identity_or_address() -> None:
    """It has the configured name then."""
    for wanted in (
        ExpectedPeer("helsinki", protocol_address=ip_address("10.255.0.1")),
        ExpectedPeer("helsinki", identity="*CN=spoke1*"),
    ):
        peers = joined(sources(1, 2, expected=(wanted,)))
        assert peers["helsinki"].nbma_address == nbma(1)
        assert peers["helsinki"].expected is Expectation.CONFIGURED
        assert set(peers) == {"helsinki", "spoke2"}


def test_a_known_peer_that_is_absent_has_what_it_had() -> None:
    """Its addresses, its subject, and since when it is gone."""
    peer = joined(sources(known=(known_peer(1),)))["spoke1"]
    assert (peer.protocol_address, peer.nbma_address) == (ip_address("10.255.0.1"), nbma(1))
    assert (peer.since, peer.last_seen) == (NOW, NOW - YEAR)
    assert peer.expected is Expectation.LEARNED


def test_traffic_and_events_are_those_of_the_peers_identity() -> None:
    """Also of peers behind one address, and after the IKE_SA is gone; another connection's do not count."""
    behind = tuple(member(number, request=replace(spoke_request(number), nbma_address=nbma(1))) for number in (1, 2))
    counted = {("dmvpn", identity(1)): Traffic(7, 1, 0, 0), ("other", identity(2)): Traffic(9, 1, 0, 0)}
    events = {("dmvpn", identity(1)): {SaEventKind.IKE_CLOSED: 2}}
    peers = joined(sources(members=behind, sas=(), traffic=counted, sa_events=events))
    assert [peers[name].traffic.bytes_in for name in ("spoke1", "spoke2")] == [7, 0]
    assert [peers[name].sa_events for name in ("spoke1", "spoke2")] == [{"ike_closed": 2}, {}]


def test_an_unknown_stage_ends_nothing() -> None:
    """A restart of charon is no flap, and the time at the stage goes on."""
    up = Track(Stage.UP, NOW - YEAR, NOW)
    assert up.after(Stage.UNKNOWN, NOW + YEAR) is up
    down = up.after(Stage.NO_IKE, NOW + YEAR)
    assert down == Track(Stage.NO_IKE, NOW + YEAR, NOW, 1)
    assert down.after(Stage.NO_IKE, NOW + 2 * YEAR) == down
    assert down.after(Stage.UP, NOW + 2 * YEAR) == Track(Stage.UP, NOW + 2 * YEAR, NOW + 2 * YEAR, 1)
