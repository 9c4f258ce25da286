"""``agent.toml`` on a node that has one: the operator's changes stay, the bundle's values are set."""

import tomllib
from dataclasses import replace
from typing import Any

import pytest

from dmvpn_agent.config.file import read_config
from dmvpn_agent.setup.agent_toml import AgentToml, agent_toml, makes_tunnel
from dmvpn_agent.setup.paths import AGENT_TOML, AGENT_TOML_WRITTEN
from dmvpn_agent.setup.refusal import Refused
from dmvpn_agent.setup.system import File, TunnelBy
from nodes import MACHINE, hub_bundle, node

HUB = node(hub_bundle())
WRITTEN = agent_toml(HUB, MACHINE).text
OPERATORS = """
# Ours: ask the network team.
[policy.groups.branches]
match = ["spoke*"]
may_reach = ["branches"]

[view]
retention = "7d"

[[peers.expected]]
name = "spoke1"   # Lahti

[[peers.expected]]
name = "spoke2"
[peers.expected.contact]
mail = "noc@example.com"
"""


def merged(present: str, written: str | None = WRITTEN, **changes: Any) -> AgentToml:
    """Return what becomes of a file. ``written``: what setup wrote last."""
    files = {AGENT_TOML: present} | ({AGENT_TOML_WRITTEN: written} if written is not None else {})
    there = {path: File(text.encode(), 0o644, "root", "root") for path, text in files.items()}
    return agent_toml(replace(HUB, **changes), replace(MACHINE, files={**MACHINE.files, **there}))


@pytest.mark.parametrize("written", [WRITTEN, None])
def test_what_an_operator_added_stays_word_by_word(written: str | None) -> None:
    """Sections, arrays of tables, comments; with or without knowledge of what setup wrote."""
    edited = WRITTEN.replace("[log]", "# louder\n[log]") + OPERATORS
    assert merged(edited, written).text == edited


def test_damage_to_what_setup_remembers_changes_nothing_of_the_operators() -> None:
    """As on a node that an earlier version has set up."""
    edited = WRITTEN + OPERATORS
    assert merged(edited, "half = ").text == edited


def test_a_changed_value_stays_if_the_bundle_does_not_decide_it() -> None:
    """It is named, with setup's value."""
    edited = WRITTEN.replace('"127.0.0.1:19342"', '"192.0.2.9:19342"')
    found = merged(edited)
    assert found.text == edited
    assert [f"{AGENT_TOML}: metrics.listen" in note for note in found.notes] == [True]


def test_a_value_that_the_bundle_decides_is_set_and_named() -> None:
    """In its line, with the operator's comment."""
    number = f"as_number = {HUB.as_number}"
    found = merged(WRITTEN.replace(number, "as_number = 65099   # hm"))
    (line,) = (one for one in found.text.splitlines() if one.startswith("as_number"))
    assert line.split("#") == [f"{number}   ", " hm"]
    assert any("bgp.as_number = 65099 becomes" in note for note in found.notes)


def test_a_renewed_bundle_changes_its_values_among_an_operators() -> None:
    """Nothing else moves."""
    found = merged(WRITTEN + OPERATORS, as_number=65098)
    changed = [one for one in found.text.splitlines() if one not in (WRITTEN + OPERATORS).splitlines()]
    assert changed == ["as_number = 65098"]
    assert found.notes == ()


def test_a_key_that_setup_no_longer_wants_goes_with_its_section() -> None:
    """The certificate came by enrolment before; what the operator wrote there stays."""
    before = agent_toml(replace(HUB, renewal_server="https://ca.example.com"), MACHINE).text
    assert "[renewal]" not in merged(before, before).text
    operators = before.replace("[renewal]", "[renewal]\njitter = 0.2")
    assert tomllib.loads(merged(operators, before).text)["renewal"] == {"jitter": 0.2}


def test_a_key_of_the_operators_is_not_removed_though_setup_would_not_write_it() -> None:
    """Renewal that was set up by hand, on a node from a bundle."""
    edited = WRITTEN + '\n[renewal]\nserver = "https://ca.example.com"\n'
    assert merged(edited).text == edited
    assert merged(edited, None).text == edited


def test_a_key_that_the_operator_removed_stays_away() -> None:
    """Unless the bundle decides it."""
    without = WRITTEN.replace('level = "info"\n', "")
    assert merged(without).text == without
    assert "as_number" in merged(WRITTEN.replace(f"as_number = {HUB.as_number}\n", "")).text


def test_networks_of_the_operator_stay_beside_setups() -> None:
    """Those that setup wrote before, and no longer wants, go."""
    ours = str(HUB.tunnel_networks[0])
    edited = WRITTEN.replace(
        f'tunnel_networks = ["{ours}"]', f'tunnel_networks = [\n  "{ours}",\n  "10.9.0.0/24", # B\n]'
    )
    assert edited != WRITTEN
    assert merged(edited).text == edited
    other = node(hub_bundle()).lan_networks or HUB.tunnel_networks
    found = tomllib.loads(merged(edited, tunnel_networks=(*other, *HUB.tunnel_networks)).text)["policy"]
    assert found["tunnel_networks"][:2] == [ours, "10.9.0.0/24"]


def test_a_second_tunnel_stays_in_the_inline_table() -> None:
    edited = WRITTEN.replace('{ gre1 = "dmvpn" }', '{ gre2 = "other", gre1 = "wrong" }')
    found = tomllib.loads(merged(edited).text)["nhrp"]["interfaces"]
    assert found == {"gre2": "other", "gre1": "dmvpn"}


def test_a_file_written_by_hand_gets_what_is_missing() -> None:
    """In the section that is there, or a new one; dotted keys get dotted ones."""
    hand = f'bgp.as_number = {HUB.as_number}\nrole = "hub"\n[policy]\n# mine\ntunnel_networks = ["10.9.0.0/24"]'
    found = merged(hand, None).text
    values = tomllib.loads(found)
    assert values["bgp"]["peer_group"] == "spokes"
    assert values["policy"]["tunnel_networks"] == ["10.9.0.0/24", *map(str, HUB.tunnel_networks)]
    assert "# mine" in found
    read_config(values)
    assert merged(found, WRITTEN).text == found


@pytest.mark.parametrize("broken", ["role = \n", 'role = "@ROLE@"\n', "bgp = 3\n", "\xff = 1"])
def test_a_file_that_cannot_be_edited_is_refused(broken: str) -> None:
    """Not TOML, placeholders, a table that is none."""
    with pytest.raises(Refused) as refused:
        merged(broken)
    assert [one.what for one in refused.value.refusals] == [AGENT_TOML]


def test_the_tunnel_of_an_edited_file_is_the_agents() -> None:
    """Whatever stands beside the header."""
    made = agent_toml(replace(HUB, tunnel_by=TunnelBy.AGENT), MACHINE).text
    for text, expected in ((made.replace("[tunnel.gre1]", "[ tunnel . gre1 ] # ours"), True), (WRITTEN, False)):
        files = {AGENT_TOML: File(text.encode(), 0o644, "root", "root")}
        assert makes_tunnel(replace(MACHINE, files=files)) is expected
