"""firewalld and awall: what setup adds where one of them is in charge."""

import json
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from dmvpn_agent.setup.answers import Answers, read_answers
from dmvpn_agent.setup.choose import choose
from dmvpn_agent.setup.observe_firewall import zones_of
from dmvpn_agent.setup.paths import AWALL, AWALL_RULES, FIREWALLD_POLICIES, FIREWALLD_ZONE
from dmvpn_agent.setup.plan import Plan, Run, make_plan
from dmvpn_agent.setup.system import Firewall, FirewallBy
from nodes import ANSWERS, MACHINE, spoke_bundle
from setup_world import World


def planned(firewall: Firewall, answers: Answers = ANSWERS) -> Plan:
    machine = replace(MACHINE, firewall=firewall)
    node = choose(spoke_bundle(), machine, answers).node
    assert node is not None
    return make_plan(node, spoke_bundle(), machine)


def written(plan: Plan) -> Mapping[str, bytes]:
    wanted = "/etc/firewalld/", "/etc/awall/"
    return {step.path: step.content or b"" for step in plan.files if step.path.startswith(wanted)}


def test_without_a_firewall_there_are_no_rules() -> None:
    """Nor where the operator says so."""
    assert not written(planned(Firewall()))
    none = replace(ANSWERS, firewall=FirewallBy.NONE)
    assert not written(planned(Firewall(FirewallBy.FIREWALLD), none))
    assert read_answers(b'firewall = "awall"').firewall is FirewallBy.AWALL


def test_firewalld_gets_a_zone_and_policies_of_its_own() -> None:
    """gre1 with BGP, IKE, ESP and GRE to this node, and the networks that it announces; then it reads them."""
    plan = planned(Firewall(FirewallBy.FIREWALLD, {"eth0": "external"}))
    files = {path: ET.fromstring(text) for path, text in written(plan).items()}
    assert set(files) == {FIREWALLD_ZONE, *FIREWALLD_POLICIES.values()}
    assert all(len(Path(path).stem) <= 17 for path in files)
    assert [one.get("name") for one in files[FIREWALLD_ZONE].iter("interface")] == ["gre1"]
    ike = files[FIREWALLD_POLICIES["ike"]]
    assert [one.get("name") for one in (*ike.iter("ingress-zone"), *ike.iter("egress-zone"))] == ["external", "HOST"]
    assert {one.get("port") for one in ike.iter("port")} == {"500", "4500"}
    assert {one.get("value") for one in ike.iter("protocol")} == {"esp", "gre"}
    assert [one.get("address") for one in files[FIREWALLD_POLICIES["in"]].iter("destination")] == ["192.168.17.0/24"]
    assert [one.get("address") for one in files[FIREWALLD_POLICIES["out"]].iter("source")] == ["192.168.17.0/24"]
    assert Run(("firewall-cmd", "--reload"), again=True) in plan.steps


def test_an_uplink_in_no_zone_counts_as_any() -> None:
    """firewalld applies a policy of the default zone only to interfaces that were put into that zone."""
    files = written(planned(Firewall(FirewallBy.FIREWALLD)))
    assert b'<ingress-zone name="ANY"/>' in files[FIREWALLD_POLICIES["ike"]]


def test_the_operators_zone_of_the_tunnel_stays() -> None:
    """An interface can be in one zone only."""
    files = written(planned(Firewall(FirewallBy.FIREWALLD, {"gre1": "trusted"}, "trusted")))
    assert FIREWALLD_ZONE not in files
    assert b'<ingress-zone name="trusted"/>' in files[FIREWALLD_POLICIES["in"]]


def test_awall_gets_a_policy_of_its_own() -> None:
    """GRE only from IPsec; the networks that this node announces are reached by way of it, and not its own ports."""
    plan = planned(Firewall(FirewallBy.AWALL))
    policy = json.loads(written(plan)[AWALL])
    assert policy["zone"]["dmvpn_lan"] == {"addr": ["192.168.17.0/24"]}
    assert policy["zone"]["dmvpn_protected"] == {"iface": "eth0", "ipsec": True}
    (gre,) = [one for one in policy["filter"] if one.get("service") == "dmvpn_gre" and one["out"] == "_fw"]
    assert gre["in"] == "dmvpn_protected"
    assert all(one.get("in") and one.get("out") for one in policy["filter"])
    assert Run(("awall", "activate", "--force"), writes=AWALL_RULES, again=True) in plan.steps


@pytest.mark.parametrize("by", [FirewallBy.AWALL, FirewallBy.FIREWALLD])
def test_a_node_without_networks_has_no_rules_for_them(by: FirewallBy) -> None:
    """A hub, say."""
    files = written(planned(Firewall(by), replace(ANSWERS, networks=())))
    assert b"192.168" not in b"".join(files.values())
    assert FIREWALLD_POLICIES["in"] not in files
    if by is FirewallBy.AWALL:
        assert "dmvpn_lan" not in json.loads(files[AWALL])["zone"]


def test_what_firewalld_prints() -> None:
    """Zones with their interfaces; newer versions mark the default zone."""
    printed = (
        "external\n  interfaces: eth0 ppp0\npublic (default)\n  interfaces: eth1\ndmz\n  sources: 192.0.2.0/24\n"
    )
    assert dict(zones_of(printed)) == {"eth0": "external", "ppp0": "external", "eth1": "public"}
    assert not dict(zones_of("no zone\n"))


def test_undo_takes_the_rules_back(tmp_path: Path) -> None:
    """awall makes its rules again from the operator's policies alone."""
    world = World(tmp_path)
    rules = world.disk.path(AWALL_RULES[0])
    before = rules.read_text()
    world.set_up()
    assert "dmvpn-agent.json" in rules.read_text()
    assert not world.plan().steps
    assert world.undo() == []
    assert rules.read_text() == before
    assert world.is_as_before()


def test_a_firewall_that_is_gone_keeps_nothing_from_being_undone(tmp_path: Path) -> None:
    """Its files are as before; without the program, nothing reads them."""
    world = World(tmp_path)
    world.set_up()
    world.machine.missing.add("awall")
    assert world.undo() == []
    assert world.is_as_before()
