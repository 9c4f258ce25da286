"""Why a peer is stuck, and what to do: in words, from charon's alerts and the agent's denials."""

from dataclasses import replace
from datetime import timedelta

import pytest

from dmvpn_agent.charon.last_alerts import CHILD, KEPT
from dmvpn_agent.policy.advice import ADVICE
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.view.alerts_text import TEXTS
from dmvpn_agent.view.join import join
from dmvpn_agent.view.peer_json import peer_summary
from dmvpn_agent.view.stage import Stage
from dmvpn_agent.view.stage_sections import SectionState, sections
from dmvpn_agent.view.stages_text import remedy
from factories import NOW
from joining import alert, bgp, denial, identity, joined, known_peer, member, nbma, sa, sources


def test_peers_behind_one_nat_have_their_own_failures() -> None:
    """The address is of both, and the alert claims the identity of one: the other only has no IKE_SA."""
    known = tuple(known_peer(number, nbma_address=nbma(1), subject=identity(number)) for number in (1, 2))
    alerts = {nbma(1): alert("cert-expired", remote_id=identity(2))}
    peers = joined(sources(known=known, alerts=alerts))
    assert (peers["spoke1"].stage, peers["spoke1"].alert) == (Stage.NO_IKE, "")
    assert (peers["spoke2"].stage, peers["spoke2"].alert) == (Stage.AUTHENTICATION_FAILED, "cert-expired")


def test_a_peer_with_two_tunnels_has_its_failure_on_both() -> None:
    """The alert claims the identity, which is the same."""
    one = member(1)
    second = replace(one, peer=replace(one.peer, interface="gre2"), request=replace(one.request, interface="gre2"))
    alerts = {nbma(1): alert("cert-expired", remote_id=identity(1))}
    peers = join(sources(members=(one, second), sas=(), alerts=alerts))
    assert [peer.alert for peer in peers] == ["cert-expired", "cert-expired"]


@pytest.mark.parametrize("kind", sorted(KEPT))
def test_each_alert_says_in_words_what_is_wrong_and_what_to_do(kind: str) -> None:
    """What charon calls it comes last: a narrow terminal cuts the end."""
    alerts = {nbma(1): alert(kind)}
    found = sa(1, child="") if kind in CHILD else None
    peer = joined(sources(sas=(found,) if found else (), known=(known_peer(1),), alerts=alerts))["spoke1"]
    assert peer.why.endswith(f"; charon reported {kind}")
    assert not peer.why.startswith("charon")
    summary = peer_summary(peer, NOW)
    assert (summary["alert"], summary["alerted_at"]) == (kind, NOW.isoformat())
    assert remedy(summary) == TEXTS[kind].do
    stuck = next(one for one in sections(summary, NOW + timedelta(minutes=2)) if one.state is SectionState.FAILED)
    assert "the last attempt failed 2m0s ago" in stuck.text


def test_an_alert_about_another_stage_explains_nothing() -> None:
    """An IKE_SA that was refused says nothing of the CHILD_SA of the present one, and the other way."""
    for found, kind in ((sa(1, child=""), "cert-expired"), (None, "ts-mismatch")):
        peer = joined(sources(sas=(found,) if found else (), known=(known_peer(1),), alerts={nbma(1): alert(kind)}))
        assert (peer["spoke1"].alert, peer["spoke1"].stage) == ("", Stage.NO_CHILD_SA if found else Stage.NO_IKE)


@pytest.mark.parametrize("reason", list(Reason))
def test_a_denial_says_what_would_let_the_peer_in(reason: Reason) -> None:
    """As `explain` does, which needs the peer's certificate in a file."""
    peer = joined(sources(denials=(denial(1),)))["spoke1"]
    assert peer.denial is not None
    summary = peer_summary(replace(peer, denial=replace(peer.denial, reason=reason)), NOW)
    assert all(one in remedy(summary) for one in ADVICE[reason].remedies)
    assert remedy(summary)


@pytest.mark.parametrize(
    ("state", "named"),
    [
        ("Idle (PfxCt)", "bgp.maximum_prefixes"),
        ("Idle (Admin)", "no neighbor 10.255.0.1 shutdown"),
        (None, "dmvpn-agent status"),
        ("Active", "TCP port 179"),
    ],
)
def test_a_session_that_bgpd_keeps_down_has_its_own_advice(state: str | None, named: str) -> None:
    """To look at AS numbers and ports would be in vain."""
    peer = joined(sources(1, bgp=bgp((member(1),), spoke1=state)))["spoke1"]
    assert peer.stage is Stage.NO_BGP
    assert named in remedy(peer_summary(peer, NOW))
    assert peer.why.startswith("it sent more prefixes") is (state == "Idle (PfxCt)")
