"""One peer as text: what the joined view knows is there."""

from dataclasses import replace
from datetime import timedelta

from dmvpn_agent.view.peer_json import peer_details, peer_summary
from dmvpn_agent.view.peers_text import peer_text
from dmvpn_agent.view.stage_sections import sections
from factories import NOW
from fakes.agents import peer


def test_a_peer_is_shown_with_its_as_number_nat_and_the_age_of_its_sas() -> None:
    """The age of the CHILD_SA is in the document of one peer only."""
    one = peer(7)
    (sa,) = one.ike_sas
    children = tuple(replace(child, installed_at=NOW - timedelta(minutes=3)) for child in sa.children)
    since = NOW - timedelta(hours=2)
    one = replace(one, ike_sas=(replace(sa, nat_remote=True, established_at=since, children=children),))
    text = peer_text({"peer": peer_details(one, NOW), "history": []}, NOW, None)
    assert "spoke on gre1, AS 64519, " in text
    assert "established for 2h0m, " in text
    assert ", behind NAT\n" in text
    assert "1 CHILD_SAs, the newest for 3m0s" in text
    assert "the newest" not in sections(peer_summary(one, NOW), NOW)[1].text
