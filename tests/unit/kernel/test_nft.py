"""The table as an nft script, and as nft shows it."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from dmvpn_agent.kernel.nftables.desired import desired_sections
from dmvpn_agent.kernel.nftables.redirect_rule import RedirectRule
from dmvpn_agent.kernel.nftables.script import render
from dmvpn_agent.kernel.nftables.section import Section, SectionName
from dmvpn_agent.kernel.nftables.settings import TableSettings
from dmvpn_agent.kernel.nftables.shown_table import NftFormatError, parse_table

RECORDED = (Path(__file__).parents[2] / "data" / "nft-1.0.6" / "table.json").read_text()
RULE = RedirectRule(
    ("gre1",), 1, 24, 16, rate_per_minute=4, burst=1,
    source_prefix_length_ipv6=64, destination_prefix_length_ipv6=48,
)  # fmt: skip

SECTIONS = desired_sections(TableSettings((), RULE), (), {})
GOLDEN = """\
table inet dmvpn_agent
delete table inet dmvpn_agent
table inet dmvpn_agent {
  set blocked {
    type ipv4_addr . inet_service
    size 4096
    flags timeout
  }
  chain input {
    type filter hook input priority filter; policy accept;
    ip saddr . udp sport @blocked drop
  }
  counter redirected {
  }
  set redirected {
    type ipv4_addr . ipv4_addr
    size 4096
    flags dynamic,timeout
    timeout 1m
  }
  set redirected6 {
    type ipv6_addr . ipv6_addr
    size 4096
    flags dynamic,timeout
    timeout 1m
  }
  chain forward {
    type filter hook forward priority filter; policy accept;
    iifname "gre1" oifname "gre1" update @redirected { ip saddr & 255.255.255.0 . ip daddr & 255.255.0.0 \
limit rate 4/minute burst 1 packets } counter name "redirected" log group 1 snaplen 128 queue-threshold 1
    iifname "gre1" oifname "gre1" ip saddr & 255.255.255.0 . ip daddr & 255.255.0.0 != @redirected \
limit rate 100/second burst 100 packets counter name "redirected" log group 1 snaplen 128 queue-threshold 1
    iifname "gre1" oifname "gre1" update @redirected6 { ip6 saddr & ffff:ffff:ffff:ffff:: . \
ip6 daddr & ffff:ffff:ffff:: limit rate 4/minute burst 1 packets } counter name "redirected" log group 1 snaplen 128 \
queue-threshold 1
    iifname "gre1" oifname "gre1" ip6 saddr & ffff:ffff:ffff:ffff:: . ip6 daddr & ffff:ffff:ffff:: \
!= @redirected6 limit rate 100/second burst 100 packets counter name "redirected" log group 1 snaplen 128 \
queue-threshold 1
    meta sdifname "gre1" oifname "gre1" update @redirected { ip saddr & 255.255.255.0 . ip daddr & 255.255.0.0 \
limit rate 4/minute burst 1 packets } counter name "redirected" log group 1 snaplen 128 queue-threshold 1
    meta sdifname "gre1" oifname "gre1" ip saddr & 255.255.255.0 . ip daddr & 255.255.0.0 != @redirected \
limit rate 100/second burst 100 packets counter name "redirected" log group 1 snaplen 128 queue-threshold 1
    meta sdifname "gre1" oifname "gre1" update @redirected6 { ip6 saddr & ffff:ffff:ffff:ffff:: . \
ip6 daddr & ffff:ffff:ffff:: limit rate 4/minute burst 1 packets } counter name "redirected" log group 1 snaplen 128 \
queue-threshold 1
    meta sdifname "gre1" oifname "gre1" ip6 saddr & ffff:ffff:ffff:ffff:: . ip6 daddr & ffff:ffff:ffff:: \
!= @redirected6 limit rate 100/second burst 100 packets counter name "redirected" log group 1 snaplen 128 \
queue-threshold 1
  }
}
"""


def test_the_script_is_the_known_one() -> None:
    """It replaces the table in one transaction. The contract tests give it to the real nft."""
    assert render(SECTIONS) == GOLDEN


def test_a_table_without_sections_is_not_wanted() -> None:
    """Not even an empty one."""
    assert desired_sections(TableSettings(("gre1",)), (), {}) == ()


def test_each_interface_has_a_rule() -> None:
    """Packets from one tunnel to another are not redirected. ``sdifname`` is the interface of one in a VRF."""
    body = replace(RULE, interfaces=("gre1", "gre2")).section().body
    lines = [re.split(" update | ip", line)[0].strip() for line in body.splitlines()]
    assert [line for line in lines if "oifname" in line] == [
        *['iifname "gre1" oifname "gre1"'] * 4,
        *['meta sdifname "gre1" oifname "gre1"'] * 4,
        *['iifname "gre2" oifname "gre2"'] * 4,
        *['meta sdifname "gre2" oifname "gre2"'] * 4,
    ]


def test_counters_and_set_elements_are_not_compared() -> None:
    """A table that packets went through has not changed."""
    quiet = json.loads(RECORDED)
    for item in quiet["nftables"]:
        item.get("set", {}).pop("elem", None)
        for part in item.values():
            part["handle"] = 77
    busy = json.loads(RECORDED)
    (counter,) = [item["counter"] for item in busy["nftables"] if "counter" in item]
    counter |= {"packets": 12, "bytes": 1200}
    shown = parse_table(json.dumps(busy))
    assert shown.content == parse_table(json.dumps(quiet)).content
    assert shown.counters == {"redirected": (12, 1200)}


def test_unknown_attributes_are_not_compared() -> None:
    """nft 1.1.7 shows the number of elements of a set; later versions may show more."""
    shown = json.loads(RECORDED)
    for item in shown["nftables"]:
        for kind, part in item.items():
            part.update({"count": 17} if kind == "set" else {"comment": "anything"})
    assert parse_table(json.dumps(shown)).content == parse_table(RECORDED).content


def test_a_foreign_object_in_the_table_is_a_change() -> None:
    """The table is the agent's alone."""
    shown = json.loads(RECORDED)
    shown["nftables"].append({"flowtable": {"family": "inet", "name": "fast", "table": "dmvpn_agent"}})
    assert parse_table(json.dumps(shown)).content != parse_table(RECORDED).content


def test_elements_are_in_the_same_transaction() -> None:
    """And late commands are its last."""
    body = "  set a {\n    type mark\n  }\n"
    section = Section(SectionName.GUARD, body, {"a": frozenset({"2", "1"})}, late="late\n")
    assert render([section]).splitlines()[7:] == [
        "table inet dmvpn_agent {",
        "  set a {",
        "    type mark",
        "    elements = {",
        "      1,",
        "      2 }",
        "  }",
        "}",
        "late",
    ]


def test_a_changed_rule_is_a_change() -> None:
    """In any value except counters."""
    assert parse_table(RECORDED).content != parse_table(RECORDED.replace('"rate": 4', '"rate": 5')).content


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"nftables": 1}', '{"nftables": [1]}'])
def test_unexpected_output_is_a_format_error(text: str) -> None:
    """The agent does not guess."""
    with pytest.raises(NftFormatError):
        parse_table(text)
