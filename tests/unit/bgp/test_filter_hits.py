"""What bgpd tells of the routes that a filter refused."""

import json
from ipaddress import ip_address

import pytest

from dmvpn_agent.bgp.filter_hits import hits_command, parse_filter_hits

NAME = "dmvpn-agent-10.255.0.2-in"


def _shown(name: str = NAME, denied: object = 2) -> str:
    entries = [{"sequenceNumber": 5, "type": "permit", "hitCount": 7}, {"type": "deny", "hitCount": denied}]
    return json.dumps({"BGP": {name: {"addressFamily": "IPv4", "entries": entries}}}, indent=2)


def test_the_refusals_of_each_list_are_added() -> None:
    """The outputs of several commands follow one another; permitted routes do not count."""
    text = f"{_shown()}\n{_shown('other', 0)}\n{{}}\n"
    assert parse_filter_hits(text, pytest.fail) == {NAME: 2, "other": 0}
    assert hits_command(ip_address("10.255.0.2")) == f"show ip prefix-list detail {NAME} json"


def test_a_terminal_of_frr_10_names_no_daemon() -> None:
    """vtysh does, as in every version."""
    text = json.dumps(json.loads(_shown())["BGP"])
    assert parse_filter_hits(text, pytest.fail) == {NAME: 2}


@pytest.mark.parametrize("text", ["{", '{"BGP": 1}', '{"BGP": {"x": {}}}', _shown(denied="many"), "{" * 5000])
def test_what_cannot_be_read_is_skipped(text: str) -> None:
    """With a reason; another list is read all the same, if it comes before."""
    skipped: list[str] = []
    assert parse_filter_hits(_shown() + text, skipped.append) == {NAME: 2}
    assert len(skipped) == 1


def test_another_output_tells_nothing() -> None:
    """As that of an FRR without these counters."""
    assert parse_filter_hits("% Unknown command", pytest.fail) == {}
