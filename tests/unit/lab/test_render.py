"""Templates: the files that users take, with their placeholders filled."""

import re
from pathlib import Path

import pytest

from dmvpn_lab.actions import ACTIONS
from dmvpn_lab.expectations import EXPECTATIONS
from dmvpn_lab.node import template_values
from dmvpn_lab.render import render
from dmvpn_lab.scenario import load

CHECKOUT = Path(__file__).parents[3]
TEMPLATES = ["frr/hub.conf", "frr/spoke.conf", "deploy/agent.hub.toml", "deploy/agent.spoke.toml"]


def test_placeholders_are_replaced() -> None:
    """Each placeholder becomes its value, several on one line too."""
    assert render("a @ONE@ b @TWO_2@\n".replace("_2", ""), {"ONE": 1, "TWO": "2"}) == "a 1 b 2\n"


def test_comments_keep_their_placeholders() -> None:
    """The head of a file that explains the placeholders is left alone."""
    text = "# @ONE@\n! @ONE@\n"
    assert render(text, {"ONE": 1}) == text


def test_missing_value_is_an_error() -> None:
    """A placeholder that nobody fills never reaches a daemon."""
    with pytest.raises(KeyError, match="OTHER"):
        render("@OTHER@\n", {"ONE": 1})


@pytest.mark.parametrize("name", TEMPLATES)
def test_templates_explain_their_placeholders(name: str) -> None:
    """Every placeholder of a file that users take is named in its head, and the lab has a value for it."""
    text = (CHECKOUT / name).read_text()
    explained = set(re.findall(r"^[#!]   @([A-Z_]+)@", text, re.MULTILINE))
    used = {name for line in text.splitlines() if line[:1] not in "#!" for name in re.findall(r"@([A-Z_]+)@", line)}
    scenario = load(CHECKOUT / "deploy/lab/scenarios/policy.toml", ACTIONS, EXPECTATIONS)
    assert used == explained
    assert used <= template_values(scenario.nodes["spoke1"], scenario).keys()
