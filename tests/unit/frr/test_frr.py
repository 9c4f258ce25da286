"""Parsing FRR's output, and rendering changes as vtysh lines."""

from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path

import pytest

from dmvpn_agent.bgp.neighbors import DENY_ANY, DENY_ANY_IPV6, DENY_ANY_SEQ, Neighbor, Observed
from dmvpn_agent.bgp.plan import (
    AddEntry,
    Change,
    RefreshInbound,
    RemoveEntry,
    RemoveList,
    RemoveNeighbor,
    SetNeighbor,
)
from dmvpn_agent.bgp.prefix_filter import Entry
from dmvpn_agent.bgp.running_config import parse_running_config
from dmvpn_agent.bgp.sessions import Session, parse_bgp_summary
from dmvpn_agent.bgp.settings import Instance, MaximumPrefix
from dmvpn_agent.bgp.vtysh_lines import render
from dmvpn_agent.frr.nhrp_cache import CacheEntry, parse_nhrp_cache
from dmvpn_agent.frr.show_json import FrrFormatError

FEW, MANY = 19, 20
DATA = Path(__file__).parents[2] / "data"
RECORDED = DATA / "frr-8.4.4"
VERSIONS = ("frr-8.4.4", "frr-10.2.6", "frr-10.6.1")
NHRPD_VERSIONS = ("frr-8.4.4", "frr-10.6.1")
A = ip_address("10.255.0.2")
LIST = "dmvpn-agent-10.255.0.2-in"
NET = Entry(permit=True, prefix=IPv4Network("192.168.2.0/24"), le=26)


def test_a_recorded_configuration_is_read() -> None:
    """The agent's neighbor completely, the operator's as far as it matters; other instances are ignored."""
    observed = parse_running_config((RECORDED / "running-config.txt").read_text())
    assert (observed.as_number, observed.requires_policy) == (65000, True)
    assert observed.peer_groups == {"q", "spokes"}
    assert observed.neighbors == {
        A: Neighbor(A, 64512, "spokes", "dmvpn-agent certificate 0123456789abcdef", LIST),
        ip_address("10.255.0.8"): Neighbor(ip_address("10.255.0.8")),
        ip_address("10.255.0.77"): Neighbor(ip_address("10.255.0.77"), 64999, description="the operator's own"),
        ip_address("2001:db8::1"): Neighbor(ip_address("2001:db8::1"), 64777),
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_every_versions_configuration_gives_the_same_values(version: str) -> None:
    """Versions differ in where they print prefix-lists; all print a group's AS number at the group only."""
    observed = parse_running_config((DATA / version / "hub-running-config.txt").read_text())
    hub3, operators = ip_address("10.255.0.3"), ip_address("10.255.0.77")
    assert observed == Observed(
        as_number=65000,
        activates_ipv4=False,
        peer_groups=frozenset({"internal", "spokes"}),
        neighbors={
            hub3: Neighbor(
                hub3, 65000, "internal", "dmvpn-agent spoke3 certificate 0123456789abcde0",
                "dmvpn-agent-10.255.0.3-in", maximum_prefix=MaximumPrefix(500),
            ),
            A: Neighbor(
                A, 64512, "spokes", "dmvpn-agent spoke2.example.net certificate 0123456789abcdef",
                LIST, f"{LIST}6", activates_ipv6=True, maximum_prefix=MaximumPrefix(1000, 15),
                maximum_prefix_ipv6=MaximumPrefix(1000, 15), weight=200, weight_ipv6=200,
            ),
            ip_address("10.255.0.8"): Neighbor(ip_address("10.255.0.8")),
            operators: Neighbor(
                operators, 4200000077, description="the operator's own! neighbor x remote-as 1",
                maximum_prefix=observed.neighbors[operators].maximum_prefix,
            ),
            ip_address("2001:db8::1"): Neighbor(ip_address("2001:db8::1"), 64777, activates_ipv6=True),
        },
        prefix_lists={
            "operators": {5: Entry(permit=True, prefix=IPv4Network("10.0.0.0/8"), le=24)},
            LIST: {5: NET, DENY_ANY_SEQ: DENY_ANY},
            "dmvpn-agent-10.255.0.3-in": {DENY_ANY_SEQ: DENY_ANY},
            f"{LIST}6": {
                5: Entry(permit=True, prefix=IPv6Network("2001:db8:2::/48"), le=64), DENY_ANY_SEQ: DENY_ANY_IPV6,
            },
        },
    )  # fmt: skip


@pytest.mark.parametrize("version", VERSIONS)
def test_every_versions_summary_gives_the_same_values(version: str) -> None:
    """Neighbors that are down or shut down; unnumbered ones are ignored."""
    sessions = parse_bgp_summary((DATA / version / "hub-summary.json").read_text())
    assert set(map(str, sessions)) == {"10.255.0.2", "10.255.0.3", "10.255.0.77"}
    assert {session.state for session in sessions.values()} <= {"Idle", "Active"}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_versions_session_states_give_the_same_values(version: str) -> None:
    """One session is up with four prefixes, one is over its limit, one is shut down."""
    sessions = parse_bgp_summary((DATA / version / "states-summary.json").read_text())
    assert sessions == {
        A: Session("Established", 4, since=sessions[A].since),
        A + 1: Session("Idle (PfxCt)", 0, drops=1),
        A + 2: Session("Active", 0),
        A + 3: Session("Idle (Admin)", 0),
        A + 4: Session("Active", 0),
    }
    assert [address for address, session in sessions.items() if session.over_limit] == [A + 1]
    assert sessions[A].since is not None


def test_recorded_prefix_lists_are_read() -> None:
    """Every form of an entry. FRR does not print them in the order of seq."""
    lists = parse_running_config((RECORDED / "running-config.txt").read_text()).prefix_lists
    assert lists[LIST] == {5: NET, DENY_ANY_SEQ: DENY_ANY}
    assert lists["zero"] == {
        5: Entry(permit=True, prefix=IPv4Network("0.0.0.0/0"), le=32),
        10: Entry(permit=True, prefix=IPv4Network("10.0.0.0/8"), ge=9, le=20),
    }
    assert lists["anything"] == {5: Entry(permit=True, prefix=IPv4Network("0.0.0.0/0"), le=32)}


@pytest.mark.parametrize(
    ("text", "observed"),
    [
        ("", Observed()),
        ("router bgp 65001 vrf red\n neighbor 10.0.0.1 remote-as 1\n", Observed()),
        ("router bgp 65001 view red\n", Observed()),
        ("router bgp 65001\n no bgp ebgp-requires-policy\n", Observed(65001, requires_policy=False)),
        # `as-notation` is of FRR 9 and later
        (
            "router bgp 1.10 as-notation dot\n neighbor 10.255.0.2 remote-as 2.3\n",
            Observed(65546, neighbors={A: Neighbor(A, 131075)}),
        ),
        (
            "router bgp 1\n address-family ipv4 multicast\n  neighbor 10.255.0.2 prefix-list x in\n",
            Observed(1, neighbors={A: Neighbor(A)}),
        ),
        (
            "router bgp 1\n address-family ipv4 unicast\n  neighbor 10.255.0.2 prefix-list x out\n",
            Observed(1, neighbors={A: Neighbor(A)}),
        ),
        ("ip prefix-list x description only\n", Observed(prefix_lists={"x": {}})),
        ("ipv6 prefix-list x seq 5 permit any\n", Observed()),
    ],
)
def test_only_the_default_instance_and_ipv4_unicast_count(text: str, observed: Observed) -> None:
    """Lines of other instances and address families are ignored."""
    assert parse_running_config(text) == observed


def test_a_recorded_summary_is_read() -> None:
    """All neighbors except unnumbered ones."""
    sessions = parse_bgp_summary((RECORDED / "bgp-summary.json").read_text())
    assert sessions[A] == Session("Idle", 0)
    assert set(map(str, sessions)) == {"10.255.0.2", "10.255.0.8", "10.255.0.77", "2001:db8::1"}


def test_a_bgpd_without_instance_has_no_sessions() -> None:
    """FRR prints an empty object."""
    assert parse_bgp_summary("{}") == {}


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"peers": []}', '{"peers": {"10.0.0.1": {}}}', '{"peers": {"x": 1}}',
     '{"peers": {"x": {"state": "Idle"}}}'],
)  # fmt: skip
def test_an_unexpected_summary_is_a_format_error(text: str) -> None:
    """The agent does not guess."""
    with pytest.raises(FrrFormatError, match="summary json"):
        parse_bgp_summary(text)


@pytest.mark.parametrize("version", NHRPD_VERSIONS)
def test_a_recorded_cache_is_read(version: str) -> None:
    """nhrpd prints ``-`` for a missing NBMA address; an empty cache has no entries."""
    entries = parse_nhrp_cache((DATA / version / "nhrp-cache.json").read_text())
    assert entries == (CacheEntry("gre1", "local", ip_address("10.255.0.8"), None),)
    assert parse_nhrp_cache((DATA / version / "nhrp-cache-empty.json").read_text()) == ()


def test_a_dynamic_entry_of_the_cache_is_read() -> None:
    """A spoke in the hub's cache."""
    row = '{"interface":"gre1","type":"dynamic","protocol":"10.255.0.2","nbma":"203.0.113.2","auth":true}'
    entries = parse_nhrp_cache(f'{{"attr":{{"entriesCount":1}},"table":[{row}]}}')
    assert entries == (CacheEntry("gre1", "dynamic", A, ip_address("203.0.113.2")),)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"table": 1}', '{"table": [1]}', '{"table": [{"interface": "gre1"}]}',
     '{"table": [{"interface": "gre1", "type": "dynamic", "protocol": "x"}]}'],
)  # fmt: skip
def test_an_unexpected_cache_is_a_format_error(text: str) -> None:
    """An unreadable cache is not an empty one."""
    with pytest.raises(FrrFormatError, match="cache json"):
        parse_nhrp_cache(text)


def test_an_unreadable_row_of_the_cache_is_skipped_and_reported() -> None:
    """So the caller knows that peers are missing."""
    rows = '{"interface":"gre1","type":"dynamic","protocol":"10.255.0.2","nbma":"203.0.113.2"}', '{"protocol":5}', "7"
    skipped: list[str] = []
    entries = parse_nhrp_cache(f'{{"table":[{",".join(rows)}]}}', skipped.append)
    assert [entry.protocol_address for entry in entries] == [A]
    assert [why.rpartition(": {")[0] or why for why in skipped] == [
        "show ip nhrp cache json: unexpected row (KeyError 'interface')",
        "show ip nhrp cache json: unexpected row (TypeError 7 is not an object): 7",
    ]


def test_an_unreadable_session_is_skipped_and_reported() -> None:
    """For example if a version of FRR prints another type there."""
    text = '{"peers": {"10.255.0.2": {"state": "Idle"}, "10.255.0.3": {"state": 5}, "x": {"state": "Idle"}}}'
    skipped: list[str] = []
    assert parse_bgp_summary(text, skipped.append) == {A: Session("Idle", 0)}
    assert len(skipped) == 2


OWN = " neighbor 10.255.0.2 description dmvpn-agent x certificate 01"


@pytest.mark.parametrize(
    "text",
    [
        "router bgp",
        "router bgp x",
        "router bgp 0",
        "router bgp 4294967296",
        f"router bgp 1\n neighbor 10.255.0.2 remote-as 1x\n{OWN}",
        f"router bgp 1\n{OWN}\n address-family ipv4 unicast\n  neighbor 10.255.0.2 weight -1",
        f"router bgp 1\n{OWN}\n address-family ipv4 unicast\n  neighbor 10.255.0.2 maximum-prefix",
        f"ip prefix-list {LIST} seq 5 permit",
        f"ip prefix-list {LIST} seq x permit any",
        f"ip prefix-list {LIST} seq 5 permit 10.0.0.0/33",
        f"ip prefix-list {LIST} seq 5 permit 10.0.0.0/8 le",
        f"ip prefix-list {LIST} seq 5 permit 10.0.0.0/8 within 9",
        f"ip prefix-list {LIST} something",
    ],
)
def test_an_unreadable_line_about_the_agents_configuration_is_a_format_error(text: str) -> None:
    """If the agent skipped it, it would write the line again or never remove it."""
    with pytest.raises(FrrFormatError, match="unexpected line in the running configuration: '"):
        parse_running_config(text)


@pytest.mark.parametrize(
    "line", ["remote-as 1x", "remote-as 4294967296", "remote-as 1.65536", "weight -1", "maximum-prefix"]
)
def test_an_unreadable_neighbor_is_the_operators(line: str) -> None:
    """It does not look like a half-written one of the agent's, and no other line suffers."""
    text = (
        f"router bgp 65000\n neighbor 10.255.0.2 remote-as 64512\n neighbor 10.255.0.3 remote-as 64513\n"
        f" address-family ipv4 unicast\n  neighbor 10.255.0.2 {line}\n"
    )
    assert parse_running_config(text).neighbors == {A: Neighbor(A), A + 1: Neighbor(A + 1, 64513)}


@pytest.mark.parametrize("line", ["seq 5 permit 10.0.0.0/33", "seq 5 permit 10.0.0.0/8 within 9", "seq x permit any"])
def test_an_unreadable_list_of_the_operators_is_ignored(line: str) -> None:
    """The agent does not need it."""
    text = f"ip prefix-list his {line}\nip prefix-list {LIST} seq 5 permit any\n"
    assert LIST in parse_running_config(text).prefix_lists


def test_only_a_newline_ends_a_line() -> None:
    """Not the other characters at which Python splits lines."""
    text = "router bgp 65000\n neighbor 10.255.0.2 description a\x85b\u2028router bgp 7\n"
    assert parse_running_config(text).as_number == 65000


def test_changes_become_lines_in_order() -> None:
    """Each in its configuration node; the lines begin and end in enable mode."""
    neighbor = Neighbor(A, 64512, "spokes", "dmvpn-agent certificate 01", LIST)
    changes: list[Change] = [
        AddEntry(LIST, DENY_ANY_SEQ, DENY_ANY),
        AddEntry(LIST, 5, NET),
        SetNeighbor(neighbor, Neighbor(A)),
        RemoveEntry(LIST, 5, NET),
        RemoveNeighbor(A),
        RemoveList(LIST),
        RefreshInbound(A),
    ]
    assert render(changes, Instance(65000)) == [
        "configure terminal",
        f"ip prefix-list {LIST} seq 4294967295 deny any",
        f"ip prefix-list {LIST} seq 5 permit 192.168.2.0/24 le 26",
        "end",
        "configure terminal",
        "router bgp 65000",
        "neighbor 10.255.0.2 remote-as 64512",
        "neighbor 10.255.0.2 description dmvpn-agent certificate 01",
        "address-family ipv4 unicast",
        f"neighbor 10.255.0.2 prefix-list {LIST} in",
        "exit-address-family",
        "neighbor 10.255.0.2 peer-group spokes",
        "end",
        "configure terminal",
        f"no ip prefix-list {LIST} seq 5 permit 192.168.2.0/24 le 26",
        "end",
        "configure terminal",
        "router bgp 65000",
        "no neighbor 10.255.0.2",
        "end",
        "configure terminal",
        f"no ip prefix-list {LIST}",
        "end",
        "clear bgp ipv4 unicast 10.255.0.2 soft in",
    ]


def test_only_differences_of_a_neighbor_are_written() -> None:
    """An unchanged line could reset the session."""
    before = Neighbor(A, 64512, "spokes", "dmvpn-agent certificate 01", LIST)
    after = Neighbor(A, 64512, "spokes", "dmvpn-agent certificate 02", LIST)
    assert render([SetNeighbor(after, before)], Instance(65000))[2:-1] == [
        "neighbor 10.255.0.2 description dmvpn-agent certificate 02"
    ]


def test_limit_and_weight_follow_the_filter_in_each_family() -> None:
    """And come before the peer-group, which starts the session."""
    limit = MaximumPrefix(10, 15)
    after = Neighbor(A, 64512, "spokes", "dmvpn-agent x", LIST, f"{LIST}6", True, limit, limit, 200, 200)
    start = "neighbor 10.255.0.2"
    assert render([SetNeighbor(after, Neighbor(A))], Instance(65000))[4:-1] == [
        "address-family ipv4 unicast",
        f"{start} prefix-list {LIST} in",
        f"{start} maximum-prefix 10 restart 15",
        f"{start} weight 200",
        "exit-address-family",
        "address-family ipv6 unicast",
        f"{start} prefix-list {LIST}6 in",
        f"{start} maximum-prefix 10 restart 15",
        f"{start} weight 200",
        "exit-address-family",
        f"{start} peer-group spokes",
        "address-family ipv6 unicast",
        f"{start} activate",
        "exit-address-family",
    ]
    before, after = after, Neighbor(A, 64512, "spokes", "dmvpn-agent x", LIST)
    assert render([SetNeighbor(after, before)], Instance(65000))[2:-1] == [
        "address-family ipv4 unicast",
        f"no {start} maximum-prefix",
        f"no {start} weight",
        "exit-address-family",
        "address-family ipv6 unicast",
        f"no {start} activate",
        f"no {start} prefix-list {LIST}6 in",
        f"no {start} maximum-prefix",
        f"no {start} weight",
        "exit-address-family",
    ]


@pytest.mark.parametrize(
    ("line", "read"),
    [
        ("maximum-prefix 10", MaximumPrefix(10)),
        ("maximum-prefix 10 restart 15", MaximumPrefix(10, 15)),
        ("maximum-prefix 10 50", MaximumPrefix(10, other=True)),
        ("maximum-prefix 10 warning-only", MaximumPrefix(10, other=True)),
        ("maximum-prefix 10 50 restart 15 force", MaximumPrefix(10, other=True)),
        ("maximum-prefix-out 10", None),
    ],
)
def test_a_limit_is_read_as_frr_prints_it(line: str, read: MaximumPrefix | None) -> None:
    """An operator's variant differs from the agent's, and a line of another kind is not a limit."""
    neighbor = " neighbor 10.255.0.2"
    text = f"router bgp 65000\n{neighbor} remote-as 1\n address-family {{}} unicast\n {neighbor} {line}\n"
    assert parse_running_config(text.format("ipv4")).neighbors[A] == Neighbor(A, 1, maximum_prefix=read)
    assert parse_running_config(text.format("ipv6")).neighbors[A] == Neighbor(A, 1, maximum_prefix_ipv6=read)


def test_a_password_in_the_configuration_is_not_kept() -> None:
    """So nothing can log it."""
    text = "router bgp 65000\n neighbor 10.255.0.2 remote-as 1\n neighbor 10.255.0.2 password s3cret one\n"
    assert "s3cret" not in repr(parse_running_config(text))


def test_no_changes_are_no_lines() -> None:
    """vtysh without commands would wait for a terminal."""
    assert render([], Instance(65000)) == []


def test_many_lines_about_lists_are_one_transaction() -> None:
    """Otherwise FRR processes all lists again for each line. Neighbors stay outside: bgpd would delay them."""
    lists: list[Change] = [AddEntry(LIST, seq, DENY_ANY) for seq in range(MANY)]
    neighbor = RemoveNeighbor(A)
    lines = render([*lists, neighbor], Instance(65000), grouped=True)
    assert lines[:2] == ["configure terminal", "XFRR_start_configuration"]
    assert lines[MANY + 2 :] == ["XFRR_end_configuration", "end", *render([neighbor], Instance(65000), grouped=True)]
    assert lines[2 : MANY + 2] == [
        line for change in lists for line in render([change], Instance(65000), grouped=True)[1:-1]
    ]


def test_few_lines_are_not_a_transaction() -> None:
    """The neighbors of single peers start at once."""
    few = render([AddEntry(LIST, seq, DENY_ANY) for seq in range(FEW)], Instance(65000))
    neighbors = render([RemoveNeighbor(A + number) for number in range(MANY)], Instance(65000))
    assert not any("XFRR" in line for line in [*few, *neighbors])
