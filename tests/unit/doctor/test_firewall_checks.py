"""What the doctor says of other firewalls."""

import pytest

from dmvpn_agent.doctor.check import Level
from dmvpn_agent.doctor.firewall_checks import firewall_checks
from dmvpn_agent.doctor.node import Unknown
from dmvpn_agent.kernel.firewalls.flows import (
    Dropped,
    FirewallView,
    Flow,
    Place,
    remedy,
    tunnel_flows,
    underlay_flows,
)
from dmvpn_agent.kernel.firewalls.nft_json import read_nft
from dmvpn_agent.kernel.firewalls.rules import Chain, Condition, Drop, Field, Packet, Rule, Table, Verdict
from dmvpn_agent.kernel.firewalls.verdict import MAX_RULES, TooManyRules, find_drop

BOTH = frozenset({4, 6})
GRE = next(flow for flow in underlay_flows("eth0", hub=True) if flow.packet.ipsec)
TO_LAN, TO_TUNNEL = tuple(tunnel_flows("gre1", ("lan0",), 4, hub=False, bgp=False))


def _levels(*flows: Flow) -> list[Level]:
    view = FirewallView(
        ("inet t",), (), 9, tuple(Dropped(flow, "inet t, chain f: policy drop", "do") for flow in flows)
    )
    return [check.level for check in firewall_checks(view)]


def test_what_is_dropped_between_the_nodes_is_a_fault_and_a_lan_that_is_cut_a_warning() -> None:
    """An operator may keep a LAN away from the tunnel on purpose."""
    assert _levels(GRE, TO_LAN) == [Level.FAULT, Level.WARNING]
    assert _levels() == [Level.OK]


def test_a_spoke_may_be_closed_to_who_asks_first() -> None:
    """It asks its hubs itself, and the answers pass."""
    received = [flow for flow in underlay_flows("eth0", hub=False) if flow.packet.received_by]
    assert {flow.vital for flow in received} == {False}
    assert {flow.vital for flow in underlay_flows("eth0", hub=False) if flow.packet.sent_by} == {True}


def test_rules_that_cannot_be_read_are_not_taken_for_sound() -> None:
    """Without root that is a warning."""
    (check,) = firewall_checks(Unknown("nft -j list ruleset: Operation not permitted", permission=True))
    assert check.level is Level.WARNING
    (check, _) = firewall_checks(FirewallView(unread=("iptables-nft-save: no module",)))
    assert (check.level, "no module" in check.found) == (Level.WARNING, True)


@pytest.mark.parametrize(
    ("table", "chain", "flow", "wanted"),
    [
        ("inet firewalld", "filter_IN_public", GRE, "--zone=public --add-protocol=gre"),
        ("inet firewalld", "filter_FWD_my_zone_post", TO_TUNNEL, "--policy=to-dmvpn --add-ingress-zone=my_zone;"),
        ("inet firewalld", "filter_FWD_public", TO_LAN, "--zone=trusted --add-interface=gre1;"),
        ("iptables filter", "DOCKER-USER", TO_LAN, "iptables -I DOCKER-USER -i gre1 -o lan0 -j ACCEPT"),
        ("iptables filter", "ufw-before-forward", TO_LAN, "ufw route allow in on gre1 out on lan0"),
        ("iptables mangle", "X", TO_LAN, "iptables -t mangle -I X -i gre1 -o lan0 -j ACCEPT"),
        ("inet own", "f", GRE, "nft 'insert rule inet own f iifname \"eth0\" meta l4proto gre accept'"),
    ],
)
def test_the_remedy_is_a_command_of_the_program_that_drops(table: str, chain: str, flow: Flow, wanted: str) -> None:
    """And put where that program keeps what operators add."""
    assert wanted in remedy(Drop(Table(table, BOTH, {chain: Chain()}), chain, "policy drop"), flow)


def test_a_policy_of_awall_names_its_services() -> None:
    """awall's tables look like any others: the node says that it is there."""
    text = remedy(Drop(Table("iptables filter", BOTH), "INPUT", "policy drop"), GRE, awall=True)
    assert '"service": "gre"' in text
    assert "awall activate" in text


def _jump(target: str) -> Rule:
    return Rule((), Verdict.JUMP, "", target)


def test_chains_that_jump_in_a_circle_end() -> None:
    """The kernel refuses them; what is read need not come from a kernel."""
    table = Table("inet t", BOTH, {"f": Chain((_jump("g"),), "forward", 0, True), "g": Chain((_jump("f"),))})
    assert find_drop((table,), TO_LAN.packet) is None


def test_more_rules_than_can_be_followed_are_an_error() -> None:
    """Chains that jump twice to the next one double the rules with each."""
    chains = {f"c{number}": Chain((_jump(f"c{number + 1}"),) * 2) for number in range(30)}
    table = Table("inet t", BOTH, {**chains, "c30": Chain(), "f": Chain((_jump("c0"),), "forward")})
    with pytest.raises(TooManyRules):
        find_drop((table,), TO_LAN.packet)
    assert MAX_RULES < 2**30


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"nftables": [{"rule": {}}]}', '{"nftables": [1]}'])
def test_what_is_no_ruleset_is_a_value_error(text: str) -> None:
    """And not taken for one without rules."""
    with pytest.raises(ValueError, match=r".*"):
        tuple(read_nft(text))


def test_a_condition_on_what_a_packet_lacks_does_not_hold() -> None:
    """Negated neither: a packet that comes in has no outgoing interface."""
    packet = Packet(4, 47, received_by="eth0")
    assert Condition(Field.SENT_BY, ("eth1",), negated=True).holds(packet) is False
    assert Flow("", packet, Place.UNDERLAY).packet.hooks == ("prerouting", "input")
