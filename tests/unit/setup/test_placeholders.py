"""The files that users take, with their placeholders filled."""

import re
from pathlib import Path

import pytest

from placeholders import render

CHECKOUT = Path(__file__).parents[3]
TEMPLATES = [
    "frr/hub.conf",
    "frr/spoke.conf",
    "frr/hub-ibgp.conf",
    "frr/spoke-ibgp.conf",
    "frr/second-tunnel.conf",
    "frr/other-hub.conf",
    "frr/hub-ipv6.conf",
    "frr/spoke-ipv6.conf",
    "deploy/agent.hub.toml",
    "deploy/agent.spoke.toml",
    "deploy/agent.dmvpn-ca.hub.toml",
    "deploy/agent.dmvpn-ca.spoke.toml",
]


def test_placeholders_are_replaced() -> None:
    """Each placeholder becomes its value, several on one line too."""
    assert render("a @ONE@ b @TWO_2@\n".replace("_2", ""), {"ONE": 1, "TWO": "2"}) == "a 1 b 2\n"


def test_comments_keep_their_placeholders() -> None:
    """The head of a file that explains the placeholders is left alone."""
    text = "# @ONE@\n! @ONE@\n"
    assert render(text, {"ONE": 1}) == text


def test_lists_repeat_their_line() -> None:
    """A line with lists stands once for each value, their values together; for no value it is left out."""
    values = {"NAME": "n", "A": [1, 2], "B": [3, 4], "NONE": []}
    assert render("@NAME@ @A@ @B@\nrest @NONE@\nend\n", values) == "n 1 3\nn 2 4\nend\n"


@pytest.mark.parametrize("name", TEMPLATES)
def test_templates_explain_their_placeholders(name: str) -> None:
    """Every placeholder of a file that users take is named in its head."""
    text = (CHECKOUT / name).read_text()
    explained = set(re.findall(r"^[#!]   @([A-Z0-9_]+)@", text, re.MULTILINE))
    used = {
        name for line in text.splitlines() if line[:1] not in "#!" for name in re.findall(r"@([A-Z0-9_]+)@", line)
    }
    assert used == explained
