"""Peers' labels: one word that is safe in a command."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmvpn_agent.bgp.change_text import describe
from dmvpn_agent.bgp.desired import desired
from dmvpn_agent.bgp.neighbors import Neighbor, owns_neighbor
from dmvpn_agent.bgp.plan import SetNeighbor
from dmvpn_agent.bgp.running_config import parse_running_config
from dmvpn_agent.bgp.settings import BgpSettings, Instance
from dmvpn_agent.bgp.vtysh_lines import render
from dmvpn_agent.charon.ike_peer import IkePeer, ike_peer
from dmvpn_agent.policy.decision import Accept
from dmvpn_agent.x509.certificate import Certificate, Label
from dmvpn_agent.x509.certificate_reader import read_certificate
from dmvpn_agent.x509.name import Attribute
from dmvpn_agent.x509.peer_label import identity_label, read_label, subject_label
from factories import ADDRESS, UNITS, decide, der, request

HOSTILE = [
    "spoke\nend\nno router bgp 65000",
    "a\x00b",
    "x ! y",
    "$(reboot)",
    "сервер",
    "\u202eevil",
    "?",
    "\t",
    "a" * 5000,
]
NAMES = st.text(max_size=100) | st.sampled_from(HOSTILE)
SETTINGS = BgpSettings(as_number=65000, peer_group="spokes")
CN, OU = "2.5.4.3", "2.5.4.11"


def _subject(*parts: tuple[str, str]) -> list[Attribute]:
    return [Attribute(oid, text.encode(), text) for oid, text in parts]


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("spoke17", "spoke17"),
        ("spoke-17.example.net", "spoke-17.example.net"),
        ("spoke7@example.net", "spoke7_example.net"),
        ("Büro Wien", "B_ro_Wien"),
        ("a" * 33, "a" * 32),
        ("", None),
        ("!?", None),
        ("сервер", None),
    ],
)
def test_a_name_becomes_a_word(name: str, label: str | None) -> None:
    """A character that is not allowed becomes an underscore; without any allowed one there is no label."""
    assert read_label(name) == (Label(label) if label else None)


@pytest.mark.parametrize("text", ["", "a b", "a\n", "ä", "a" * 33, "a!", "\uff41"])
def test_there_is_no_label_of_other_characters(text: str) -> None:
    """Any code can make a label, and every label is safe in a command."""
    with pytest.raises(ValueError, match="not a label"):
        Label(text)


def test_the_label_is_the_cn_with_its_site_if_the_cn_is_a_number() -> None:
    """dmvpn-ca numbers the nodes of a site; OUs that name resources are no site."""
    assert subject_label(_subject((CN, "old"), (CN, "spoke1"))) == Label("spoke1")
    assert subject_label(_subject((OU, "branch7"), (OU, "GRE=10.255.0.7"), (CN, "1"))) == Label("branch7-1")
    assert subject_label(_subject((OU, "x" * 60), (CN, "1"))) == Label(f"{'x' * 20}-1")
    assert subject_label(_subject((OU, "NET=10.0.0.0/8"), (CN, "1"))) == Label("1")
    assert subject_label(_subject((OU, "branch7"))) is None


def test_a_peer_has_the_label_of_its_certificate_or_its_ike_identity() -> None:
    """The identity distinguishes peers; the label is for people."""
    read = read_certificate(der(UNITS, "Spoke 1"))
    assert isinstance(read, Certificate)
    decision = decide(request(certificate=read))
    assert isinstance(decision, Accept)
    assert decision.peer is not None
    assert decision.peer.label == Label("Spoke_1")
    assert ike_peer("a@b", has_certificate=False).label == Label("a_b")
    assert ike_peer("a@b", has_certificate=False) == IkePeer("a@b", has_certificate=False)


@given(NAMES.filter(bool))
def test_no_name_in_a_certificate_breaks_out_of_a_command(name: str) -> None:
    """The description is one line of safe words, marks the neighbor as ours, and reads back unchanged."""
    label = read_label(name)
    assert label is None or re.fullmatch("[A-Za-z0-9._-]{1,32}", label.text)
    decision = decide(request())
    assert isinstance(decision, Accept)
    assert decision.peer is not None
    peer = replace(decision.peer, label=label)
    neighbor = desired([peer], SETTINGS).neighbors[ADDRESS]
    assert owns_neighbor(neighbor)
    assert describe(SetNeighbor(neighbor, Neighbor(ADDRESS))).isprintable()
    lines = render([SetNeighbor(neighbor, Neighbor(ADDRESS))], Instance(65000))
    assert len(lines) == 9
    (line,) = (line for line in lines if " description " in line)
    assert re.fullmatch(r"neighbor 10\.255\.0\.2 description dmvpn-agent [A-Za-z0-9._ -]+", line)
    again = parse_running_config(f"router bgp 65000\n {line}\n").neighbors[ADDRESS]
    assert again.description == neighbor.description


@pytest.mark.parametrize(
    ("printed", "label"),
    [
        ("spoke17.example.net", "spoke17.example.net"),
        ("C=FI, O=lab, CN=spoke17", "spoke17"),
        ("OU=branch7, CN=1", "branch7-1"),
        ("OU=AS=64512, CN=spoke 1", "spoke_1"),
        ("O=lab", "O_lab"),
        ("=, =, ,", None),
    ],
)
def test_an_ike_identity_has_the_label_of_its_certificate(printed: str, label: str | None) -> None:
    """As charon prints it; a name without CN is made one word."""
    assert identity_label(printed) == (Label(label) if label else None)
