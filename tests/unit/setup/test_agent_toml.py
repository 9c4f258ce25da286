"""``agent.toml`` on a node that has one: the operator's changes stay, the bundle's values are set."""

import tomllib
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest

from dmvpn_agent.config.file import read_config
from dmvpn_agent.config.toml_file import MAX_CONFIG_BYTES
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


ALLOWED = 'allowed_networks = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]'
TUNNELS = 'tunnel_networks = ["10.255.0.0/24"]'


@pytest.mark.parametrize("written", [WRITTEN, None])
def test_networks_that_the_operator_took_away_stay_away(written: str | None) -> None:
    """Setup widens no policy that somebody has narrowed, whether it remembers what it wrote or not, and says so."""
    assert ALLOWED in WRITTEN
    narrowed = WRITTEN.replace(ALLOWED, 'allowed_networks = ["10.1.0.0/16"]')
    found = merged(narrowed, written)
    assert found.text == narrowed
    assert [f"{AGENT_TOML}: policy.allowed_networks stays without" in note for note in found.notes] == [True]


def test_a_new_network_of_the_bundle_comes_to_those_that_were_narrowed() -> None:
    narrowed = WRITTEN.replace(ALLOWED, 'allowed_networks = ["10.1.0.0/16"]')
    found = merged(narrowed, allowed_networks=(*HUB.allowed_networks, ip_network("100.64.0.0/10")))
    assert tomllib.loads(found.text)["policy"]["allowed_networks"] == ["10.1.0.0/16", "100.64.0.0/10"]


def test_a_key_that_stays_away_is_named() -> None:
    """A policy without CRLs is no secret."""
    found = merged("".join(line for line in WRITTEN.splitlines(True) if not line.startswith("crls")))
    assert [f"{AGENT_TOML}: policy.crls stays away" in note for note in found.notes] == [True]


def test_a_file_of_comments_gets_everything_and_one_without_tunnel_networks_gets_those() -> None:
    """Without them the agent refuses its configuration."""
    found = merged("# ours\n").text
    assert found.startswith("# ours\n")
    read_config(tomllib.loads(found))
    assert TUNNELS in merged(WRITTEN.replace(TUNNELS, "")).text


def test_comments_in_an_array_stay() -> None:
    """Those of entries, those beside them, and an entry that was commented out."""
    lines = (
        "tunnel_networks = [ # ours",
        '\t"10.9.0.0/24", # B ]',
        '\t# "10.8.0.0/24", # off',
        '\t"10.7.0.0/24" # last',
    )
    found = merged(WRITTEN.replace(TUNNELS, "\n".join([*lines, "] # end"])), None).text
    assert "\n".join([*lines[:3], '\t"10.7.0.0/24", # last', '\t"10.255.0.0/24",', "] # end"]) in found


def test_dotted_keys_of_the_root_get_dotted_ones() -> None:
    """A header for their table would be a second one."""
    found = merged('role = "hub"\npolicy.groups.default = "deny"\npolicy.max_prefix_length = 24\n', None).text
    policy = tomllib.loads(found)["policy"]
    assert (policy["groups"], policy["max_prefix_length"]) == ({"default": "deny"}, 24)
    assert policy["tunnel_networks"] == ["10.255.0.0/24"]


def test_lines_that_end_in_cr_lf_stay_such() -> None:
    found = merged((WRITTEN + OPERATORS).replace("\n", "\r\n"), as_number=65098).text
    assert found == merged(WRITTEN + OPERATORS, as_number=65098).text.replace("\n", "\r\n")


def test_a_decided_value_of_another_type_is_set() -> None:
    """Python holds 65000.0 and 65000 for the same; the agent does not."""
    assert merged(WRITTEN.replace("as_number = 65000", "as_number = 65000.0")).text == WRITTEN


def test_what_looks_like_a_header_in_a_string_is_none() -> None:
    text = 'x = """\n[[policy]]\n[bgp]\nas_number = 3\n"""\n' + WRITTEN
    assert merged(text, as_number=65098).text == text.replace("as_number = 65000", "as_number = 65098")


def test_a_file_that_the_agent_would_not_read_for_its_length_is_refused() -> None:
    with pytest.raises(Refused):
        merged(f"{WRITTEN}# {'x' * MAX_CONFIG_BYTES}\n")


@pytest.mark.parametrize(("written", "is_named"), [("role = ", True), ("\0", True), (WRITTEN, False), (None, False)])
def test_a_damaged_memory_is_named(written: str | None, is_named: bool) -> None:
    """An earlier bundle's networks stay then, and not without a word."""
    assert any(AGENT_TOML_WRITTEN in note for note in merged(WRITTEN, written).notes) == is_named
