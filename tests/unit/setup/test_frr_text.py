"""FRR's configuration: an operator's stays, what is missing is added, contradictions are named."""

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from dmvpn_agent.setup.frr_text import Comparison, compare, lines, merged, section_text
from dmvpn_agent.setup.node import Hub
from dmvpn_agent.setup.templates import frr_conf
from nodes import hub_bundle, node, spoke_bundle

HUB = frr_conf(node(hub_bundle(), hubs=()))
SPOKE = frr_conf(node(spoke_bundle()))
BOTH = pytest.mark.parametrize("wanted", [HUB, SPOKE], ids=["hub", "spoke"])


@BOTH
def test_nothing_is_missing_after_it_was_added(wanted: str) -> None:
    for present in (
        "",
        "! comment\nlog syslog\n",
        "router bgp 65000\n bgp router-id 1.1.1.1\n" if wanted is HUB else "",
    ):
        after = merged(wanted, present)
        assert compare(wanted, after).missing == ()
        assert after.startswith(present)
        assert merged(wanted, after) == after


@BOTH
def test_lines_for_vtysh_are_in_their_sections_and_close_them(wanted: str) -> None:
    text = section_text(compare(wanted, "").missing)
    assert tuple(lines(text)) == tuple(dict.fromkeys(lines(wanted)))
    assert text.count("exit-address-family") == 1


def test_an_operators_lines_stay_and_only_what_is_missing_is_added() -> None:
    present = "hostname x\ninterface gre1\n description ours\n ip nhrp network-id 1\nexit\n"
    missing = compare(SPOKE, present).missing
    assert ("interface gre1",) not in missing
    assert ("interface gre1", "ip nhrp network-id 1") not in missing
    assert ("interface gre1", "ip nhrp shortcut") in missing


@pytest.mark.parametrize(
    "line",
    ["neighbor hubs timers 3 9", "neighbor hubs timers connect 30", "bgp router-id 9.9.9.9"],
)
def test_an_operators_own_choice_is_kept(line: str) -> None:
    present = (
        merged(SPOKE, "").replace(" neighbor hubs timers 5 15\n", "").replace(" neighbor hubs timers connect 5\n", "")
    )
    present += f"router bgp 65017\n {line}\nexit\n"
    comparison = compare(SPOKE, present)
    assert comparison.conflicts == ()
    assert ("router bgp 65017", line) not in comparison.missing
    assert merged(SPOKE, present).startswith(present)


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("router bgp 65099", "router bgp 65017"),
        ("nhrp event socket /elsewhere", "nhrp event socket /run/dmvpn-agent/nhrp.sock"),
        ("ip prefix-list nothing seq 3 permit any", "ip prefix-list nothing seq 5 deny any"),
        ("bgp as-path access-list own seq 5 permit .*", "bgp as-path access-list own seq 5 permit ^$"),
    ],
)
def test_a_contradiction_is_a_conflict(line: str, wanted: str) -> None:
    assert compare(SPOKE, line).conflicts == (((line,), (wanted,)),)


def test_a_filter_of_a_group_that_lets_more_through_is_a_conflict() -> None:
    present = "router bgp 65017\n address-family ipv4 unicast\n  neighbor hubs prefix-list all in\n"
    (conflict,) = compare(SPOKE, present).conflicts
    assert conflict[0][-1] == "neighbor hubs prefix-list all in"


def test_another_vrfs_instance_is_none_of_ours() -> None:
    assert compare(SPOKE, "router bgp 65099 vrf red\n").conflicts == ()


def test_equal_configurations_differ_in_nothing() -> None:
    assert compare(HUB, HUB) == Comparison()


@pytest.mark.parametrize("nbma", [("203.0.113.1", "203.0.113.2"), ("54.0.0.1", "34.0.0.1"), ("3.0.0.1", "4.0.0.1")])
@pytest.mark.parametrize("private", [("10.0.0.5", "10.1.0.5"), ("172.31.0.5", "10.0.0.5"), ("", "")])
def test_of_two_hubs_one_registers(nbma: tuple[str, str], private: tuple[str, str]) -> None:
    """nhrpd refuses one of two that register with each other. Behind NAT, each sees its own address otherwise.

    The answers may be the same on all hubs, and name the node itself.
    """
    protocol = [IPv4Address("10.255.0.1") + number for number in range(2)]
    hubs = tuple(map(Hub, nbma, protocol))
    nodes = [
        replace(
            node(hub_bundle()),
            nbma_address=IPv4Address(private[number] or nbma[number]),
            protocol_addresses=(protocol[number],),
            hubs=hubs,
        )
        for number in range(2)
    ]
    assert [frr_conf(one).count(" nhrp nhs ") for one in nodes] == [0, 1]


def test_a_hub_whose_protocol_address_is_not_known_is_compared_by_its_nbma_address() -> None:
    """Of a name that address is not known: all hubs may have one name, and nhrpd takes the refusal for an answer."""
    this = node(hub_bundle())
    hubs = tuple(Hub(str(this.nbma_address + step)) for step in (-1, 1))
    wanted = frr_conf(replace(this, hubs=(*hubs, Hub("hubs.example.com"))))
    listed = [line.split(" nbma ")[1] for line in wanted.splitlines() if " nhrp nhs " in line]
    assert listed == [hubs[0].nbma, "hubs.example.com"]
    assert " nhrp nhs " not in frr_conf(replace(this, hubs=hubs[1:]))
