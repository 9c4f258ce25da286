"""``explain --from A --to B``."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dmvpn_agent.cli.explain_groups import groups_of, is_restricted
from dmvpn_agent.cli.main import main
from dmvpn_agent.policy.groups import Group, Groups
from documented import assert_documented
from factories import spoke

CONFIG = """\
role = "hub"
state_directory = "{directory}"
[policy]
tunnel_networks = ["10.255.0.0/24"]
allowed_networks = ["192.168.0.0/16"]
ca_certificates = []
[[policy.groups.rule]]
between = ["branches", "servers"]
action = "drop"
[policy.groups.members.branches]
networks = ["192.168.1.0/24"]
[policy.groups.members.servers]
networks = ["192.168.2.0/24"]
[bgp]
as_number = 65000
"""
BRANCH, SERVER, NOBODY = "192.168.1.7", "192.168.2.7", "8.8.8.8"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "agent.toml"
    file.write_text(CONFIG.format(directory=tmp_path))
    return file


@pytest.mark.parametrize(
    ("ends", "status", "rule"), [((BRANCH, SERVER), 1, 1), ((SERVER, BRANCH), 1, 1), ((BRANCH, NOBODY), 0, None)]
)
def test_the_rule_that_decides_is_shown(
    config: Path, capsys: pytest.CaptureFixture[str], ends: tuple[str, str], status: int, rule: int | None
) -> None:
    """The status says whether packets pass."""
    words = ["explain", "--from", ends[0], "--to", ends[1], "--config", str(config)]
    assert main([*words, "--json"]) == status
    assert json.loads(capsys.readouterr().out)["data"]["rule"] == rule
    assert main(words) == status
    assert ("DROPPED: rule 1, between branches and servers: drop" in capsys.readouterr().out) == bool(rule)


def test_both_ends_are_needed(config: Path) -> None:
    """Otherwise there is nothing to explain."""
    assert main(["explain", "--from", BRANCH, "--config", str(config)]) == 2


def test_an_address_has_the_groups_of_its_peer() -> None:
    """By protocol address and prefix."""
    peer, groups = replace(spoke(2), groups=("a",)), Groups((Group("a"),))
    assert groups_of(peer.protocol_address, groups, [peer]) == ("a",)
    assert groups_of(peer.prefixes[0][7], groups, [peer]) == ("a",)
    assert groups_of(peer.nbma_address, groups, [peer]) == ()


def test_an_address_that_an_accepted_peer_has_too_is_that_peers_alone() -> None:
    """As in the kernel's sets."""
    groups = Groups((Group("a"), Group("b")))
    quarantined = replace(spoke(1), groups=("a",)).in_quarantine()
    address = quarantined.suspended[0][7]
    other = replace(spoke(2), prefixes=quarantined.suspended[:1], groups=("b",))
    assert groups_of(address, groups, [quarantined, other]) == ("b",)
    assert groups_of(address, groups, [quarantined]) == ("a",)
    assert [is_restricted(address, peers) for peers in ([quarantined, other], [quarantined])] == [False, True]


def test_the_document_is_documented(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each key."""
    main(["explain", "--from", BRANCH, "--to", SERVER, "--config", str(config), "--json"])
    assert_documented("explain-groups/1", json.loads(capsys.readouterr().out)["data"])
