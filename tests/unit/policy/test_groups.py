"""Groups of peers, and which rule decides between two of them."""

from typing import Any

import pytest

from dmvpn_agent.config.file import read_config
from dmvpn_agent.config.table import ConfigError
from dmvpn_agent.policy.groups import Group, GroupRule, Groups

GROUPS = Groups(
    (
        Group("branches", units=("branches",)),
        Group("servers", subjects=("*,O=lab",)),
        Group("named", labels=("dc-*",)),
    ),
    (GroupRule(("branches", "servers"), True), GroupRule(("branches", "*"), False)),
)
CONFIG: dict[str, Any] = {
    "role": "hub",
    "policy": {"tunnel_networks": ["10.255.0.0/24"], "allowed_networks": ["192.168.0.0/16"]},
    "bgp": {"as_number": 65000},
}


@pytest.mark.parametrize(
    ("subject", "label", "expected"),
    [
        ("CN=spoke1,OU=branches,O=lab", "spoke1", ("branches", "servers")),
        ("CN=OU\\=branches", "", ()),
        ("OU=branches", "dc-1", ("branches", "named")),
        ("CN=a,OU=branches2", "x-dc-1", ()),
        ("CN=a+OU=branches", "", ("branches",)),
        ("CN=a\\2COU=branches", "", ()),
    ],
)
def test_a_peer_is_in_every_group_that_it_matches(subject: str, label: str, expected: tuple[str, ...]) -> None:
    """By a whole OU, by a pattern for the subject or for the label."""
    assert GROUPS.of_peer(subject, label) == expected


def test_an_ike_identity_has_no_units() -> None:
    """A peer with a pre-shared key may choose its text."""
    assert GROUPS.of_peer("x,OU=branches,O=lab", "", certified=False) == ("servers",)


@pytest.mark.parametrize(
    ("one", "other", "number"),
    [(("branches",), ("servers",), 1), (("branches",), ("branches",), 2), ((), ("branches",), 2), ((), (), None)],
)
def test_the_first_rule_that_applies_decides_in_both_directions(
    one: tuple[str, ...], other: tuple[str, ...], number: int | None
) -> None:
    """A star is everybody, also who is in no group."""
    for found in (GROUPS.rule(one, other), GROUPS.rule(other, one)):
        assert (found[0] if found else None) == number


def _read(**groups: Any) -> Groups:
    return read_config({**CONFIG, "policy": {**CONFIG["policy"], "groups": groups}}).policy.groups


def test_the_configuration_names_groups_and_rules() -> None:
    """Without rules nothing is in force."""
    read = _read(
        members={"branches": {"units": ["branches"]}}, rule=[{"between": ["branches", "*"], "action": "drop"}]
    )
    assert read == Groups((Group("branches", units=("branches",)),), (GroupRule(("branches", "*"), False),))
    assert read.in_force
    assert not _read().in_force
    assert _read(default="drop").in_force


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ({"rule": [{"between": ["x", "*"], "action": "drop"}]}, "between names 'x'; expected one of policy.groups"),
        ({"rule": [{"between": ["*"], "action": "drop"}]}, "expected two groups"),
        ({"members": {"a b": {}}}, "expected a group's name"),
        ({"default": "no"}, "expected one of accept, drop"),
    ],
)
def test_a_mistake_is_named(groups: dict[str, Any], words: str) -> None:
    """With what is expected."""
    with pytest.raises(ConfigError, match=words.replace("*", r"\*")):
        _read(**groups)
