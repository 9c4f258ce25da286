"""The redirect rule as nft reads and shows it."""

import json
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from dmvpn_agent.kernel.nft import NftFormatError, parse_table, render
from dmvpn_agent.kernel.redirect_rule import RedirectRule

RECORDED = (Path(__file__).parents[2] / "data" / "nft-1.0.6" / "table.json").read_text()
RULE = RedirectRule(
    ("gre1",), 1, 24, 16, rate_per_minute=4, burst=1,
    source_prefix_length_ipv6=64, destination_prefix_length_ipv6=48,
)  # fmt: skip

GOLDEN = """\
table inet dmvpn_agent
delete table inet dmvpn_agent
table inet dmvpn_agent {
  set redirected {
    type ipv4_addr . ipv4_addr
    size 65535
    flags dynamic,timeout
    timeout 1m
  }
  set redirected6 {
    type ipv6_addr . ipv6_addr
    size 65535
    flags dynamic,timeout
    timeout 1m
  }
  set blocked {
    type ipv4_addr . inet_service
    size 4096
    flags timeout
  }
  chain input {
    type filter hook input priority filter; policy accept;
    ip saddr . udp sport @blocked drop
  }
  chain forward {
    type filter hook forward priority filter; policy accept;
    iifname "gre1" oifname "gre1" update @redirected { ip saddr & 255.255.255.0 . ip daddr & 255.255.0.0 \
limit rate 4/minute burst 1 packets } counter log group 1 snaplen 128
    iifname "gre1" oifname "gre1" update @redirected6 { ip6 saddr & ffff:ffff:ffff:ffff:: . \
ip6 daddr & ffff:ffff:ffff:: limit rate 4/minute burst 1 packets } counter log group 1 snaplen 128
  }
}
"""


def test_the_rule_is_written_as_known_to_work() -> None:
    """One transaction that makes our table hold just this; the contract tests give it to the real nft."""
    assert render(RULE) == GOLDEN


def test_each_interface_has_a_rule() -> None:
    """What enters through one tunnel and leaves through another is not redirected."""
    lines = [
        line.split(" update ")[0].strip() for line in render(replace(RULE, interfaces=("gre1", "gre2"))).splitlines()
    ]
    assert [line for line in lines if "iifname" in line] == [
        *['iifname "gre1" oifname "gre1"'] * 2,
        *['iifname "gre2" oifname "gre2"'] * 2,
    ]


def test_counts_and_seen_pairs_do_not_matter_for_comparison() -> None:
    """A table through which packets went is the same table."""
    quiet = json.loads(RECORDED)
    for item in quiet["nftables"]:
        item.get("set", {}).pop("elem", None)
        for part in item.values():
            part["handle"] = 77
    busy = json.loads(RECORDED)
    (counter,) = [part["counter"] for part in busy["nftables"][-1]["rule"]["expr"] if "counter" in part]
    counter |= {"packets": 12, "bytes": 1200}
    shown = parse_table(json.dumps(busy))
    assert shown.content == parse_table(json.dumps(quiet)).content
    assert shown.packets == 12


def test_what_nft_says_of_an_object_besides_does_not_matter() -> None:
    """nft 1.1.7 counts the elements of a set; whatever a later version adds is not ours either."""
    shown = json.loads(RECORDED)
    for item in shown["nftables"]:
        for kind, part in item.items():
            part.update({"count": 17} if kind == "set" else {"comment": "anything"})
    assert parse_table(json.dumps(shown)).content == parse_table(RECORDED).content


def test_an_object_that_is_not_ours_is_seen() -> None:
    """In our table nothing is the operator's, of whatever kind."""
    shown = json.loads(RECORDED)
    shown["nftables"].append({"flowtable": {"family": "inet", "name": "fast", "table": "dmvpn_agent"}})
    assert parse_table(json.dumps(shown)).content != parse_table(RECORDED).content


def test_what_is_blocked_is_in_the_same_transaction() -> None:
    """The table is made anew, and no packet of a blocked peer comes in between."""
    script = render(RULE, {(ip_address("203.0.113.7"), 4500): 30})
    assert script == GOLDEN + "add element inet dmvpn_agent blocked { 203.0.113.7 . 4500 timeout 30s }\n"


def test_a_changed_rule_is_seen() -> None:
    """Any value that is not a count tells."""
    assert parse_table(RECORDED).content != parse_table(RECORDED.replace('"rate": 4', '"rate": 5')).content


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"nftables": 1}', '{"nftables": [1]}'])
def test_other_output_is_a_format_error(text: str) -> None:
    """What nft never printed before is told."""
    with pytest.raises(NftFormatError):
        parse_table(text)
