"""One peer as text: what the joined view knows is there."""

import re
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_network

import pytest

from dmvpn_agent.runtime.output import BOLD, GREEN, PLAIN, RED, YELLOW
from dmvpn_agent.view.history import Entry, EntryKind
from dmvpn_agent.view.peer_json import peer_details, peer_summary
from dmvpn_agent.view.peers_text import history_text, peer_text
from dmvpn_agent.view.stage import Stage
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
    assert "1 CHILD_SA, the newest for 3m0s" in text
    assert "the newest" not in sections(peer_summary(one, NOW), NOW)[1].text


WHERE = "10.255.0.9 at 203.0.113.9: protocol_address_mismatch: the certificate has 10.255.0.9, expected 10.255.0.8"
ENTRIES = [
    Entry(1, NOW, EntryKind.DECISION, "deny", "spoke9", WHERE, count=3, last=NOW).as_json(),
    Entry(2, NOW, EntryKind.STAGE, "authentication_failed", "spoke9", "charon: peer authentication failed").as_json(),
    Entry(3, NOW, EntryKind.STAGE, "up", "spoke9", "").as_json(),
]


def plain(text: str) -> str:
    """The text without colours, which are one character each."""
    return re.sub(f"[{BOLD}{GREEN}{PLAIN}{RED}{YELLOW}]", "", text)


def words(text: str) -> list[str]:
    return plain(text).split()


@pytest.mark.parametrize("width", [60, 80, 100, 130])
@pytest.mark.parametrize("stage", list(Stage))
def test_a_peer_fits_the_terminal_and_nothing_of_it_is_cut(stage: Stage, width: int) -> None:
    """Its sections, its certificate and its history are wrapped."""
    prefixes = tuple(ip_network(f"10.{number}.0.0/16") for number in range(30))
    one = peer(9, stage, prefixes=prefixes, subject=f"C=DE, O={'Example ' * 12}, CN=spoke9")
    assert one.bgp is not None
    one = replace(one, bgp=replace(one.bgp, allowed=prefixes))
    data = {"peer": peer_details(one, NOW), "history": ENTRIES}
    text = peer_text(data, NOW, width)
    assert [line for line in plain(text).split("\n") if len(line) > width] == []
    whole = words(peer_text(data, NOW, None))
    assert [word for word in words(text) if word != "TEXT"] == [word for word in whole if word != "TEXT"]


@pytest.mark.parametrize("width", [80, 100, 130])
def test_a_history_fits_the_terminal_and_nothing_of_it_is_cut(width: int) -> None:
    """Of all peers it has their names; without a terminal each entry is one line."""
    text = history_text(ENTRIES, width)
    assert max(map(len, text.split("\n"))) <= width
    whole = history_text(ENTRIES, None)
    assert whole.count("\n") == len(ENTRIES)
    assert [word for word in words(text) if word != "TEXT"] == [word for word in words(whole) if word != "TEXT"]
