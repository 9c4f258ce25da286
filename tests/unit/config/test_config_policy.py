"""The ``[policy]`` tables: general rules, special rules, and what is refused."""

import tomllib

import pytest

from configuration import config_from
from dmvpn_agent.config.table import ConfigError
from dmvpn_agent.policy.peer import PeerKind
from dmvpn_agent.policy.rules import Action, Combination, OnConflict, Policy, Rules
from dmvpn_agent.x509.certificate import Role, Source

HUB = """
role = "hub"
[nhrp]
interfaces = { gre1 = "dmvpn", gre2 = "dmvpn2" }
[bgp]
as_number = 65000
[policy]
tunnel_networks = ["10.255.0.0/24"]
allowed_networks = ["192.168.0.0/16"]
"""


def policy(text: str, before: str = HUB) -> Policy:
    return config_from(tomllib.loads(before + text)).policy


def rules(text: str, kind: PeerKind = PeerKind.SPOKE, interface: str = "gre1") -> Rules:
    return policy(text).rules[interface][kind]


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as raised:
        policy(text)
    return str(raised.value)


class TestSpecialTables:
    """A special table inherits the keys that it does not have."""

    def test_a_kind_of_peer_has_its_own_rules(self) -> None:
        """The other kinds keep the general rules."""
        text = "max_prefixes = 5\n[policy.hub]\nmax_prefixes = 50\nallow_default_route = true\n"
        assert (rules(text, PeerKind.HUB).max_prefixes, rules(text).max_prefixes) == (50, 5)
        assert rules(text, PeerKind.HUB).allows_default_route
        assert rules(text, PeerKind.HUB).tunnel_networks == rules(text).tunnel_networks

    def test_an_interface_has_its_own_rules(self) -> None:
        """The tables of kinds of peer apply to it too."""
        text = (
            'max_prefixes = 5\n[policy.interfaces.gre2]\ntunnel_networks = ["10.254.0.0/24"]\n'
            "[policy.hub]\nallowed = false\n"
        )
        assert str(rules(text, interface="gre2").tunnel_networks[0]) == "10.254.0.0/24"
        assert rules(text, interface="gre2").max_prefixes == 5
        assert not rules(text, PeerKind.HUB, "gre2").allowed

    def test_an_unknown_key_in_a_special_table_is_an_error(self) -> None:
        """A typing mistake never disables a rule, in any table."""
        assert "policy.hub.max_prefix is unknown" in refusal("[policy.hub]\nmax_prefix = 3\n")
        assert "policy.interfaces.gre2.allow is unknown" in refusal("[policy.interfaces.gre2]\nallow = true\n")

    def test_rules_for_an_unknown_interface_are_an_error(self) -> None:
        """The message lists the configured interfaces."""
        message = refusal("[policy.interfaces.gre3]\nallowed = false\n")
        assert message == "policy.interfaces.gre3 is unknown; expected one of nhrp.interfaces: gre1, gre2"

    def test_an_interface_without_rules_of_its_own_has_the_general_ones(self) -> None:
        """It needs no table."""
        assert rules("", interface="gre2") == rules("")


def test_each_key_sets_its_rule() -> None:
    """Networks, lengths, AS numbers, patterns and conflicts."""
    text = """
forbidden_networks = ["192.168.0.0/24"]
max_prefix_length = 26
max_prefix_length_ipv6 = 56
as_numbers = ["64512", "64600-64700"]
allow_default_route = true
issuers = ["*CN=lab CA"]
subjects = ["*OU=branch*"]
on_conflict = "take_over"
"""
    read = rules(text)
    assert (str(read.forbidden_networks[0]), read.max_prefix_length) == ("192.168.0.0/24", (26, 56))
    assert read.as_ranges == ((64512, 64512), (64600, 64700))
    assert (read.allows_default_route, read.on_conflict) == (True, OnConflict.TAKE_OVER)
    assert (read.issuers, read.subjects) == (("*CN=lab CA",), ("*OU=branch*",))


def test_sources_have_an_order_and_a_combination() -> None:
    """A source that is not listed is not used."""
    read = policy('[policy.sources]\norder = ["rfc3779", "subject"]\ncombine = "agree"\n')
    assert (read.sources, read.combination) == ((Source.RFC3779, Source.SUBJECT), Combination.AGREE)
    assert "a list of some of" in refusal('[policy.sources]\norder = ["subject", "subject"]\n')
    assert "a list of some of" in refusal('[policy.sources]\norder = ["static"]\n')


class TestStaticTable:
    """``[[policy.peer]]``."""

    ROW = '[[policy.peer]]\nidentity = "*@example.net"\nprotocol_addresses = ["10.255.0.7"]\n'

    def test_a_row_has_the_resources_of_a_certificate(self) -> None:
        """Protocol addresses, AS number, prefixes and role."""
        (row,) = policy(self.ROW + 'as_number = 64520\nprefixes = ["192.168.7.0/24"]\nrole = "hub"\n').static_peers
        assert (row.identity, row.overrides) == ("*@example.net", False)
        found = row.resources
        values = [
            claim.value for claim in (*found.protocol_addresses, *found.as_numbers, *found.prefixes, *found.roles)
        ]
        assert [str(value) for value in values] == ["10.255.0.7", "64520", "192.168.7.0/24", "hub"]
        assert values[-1] is Role.HUB

    def test_a_row_that_the_policy_would_deny_is_refused(self) -> None:
        """The rules apply to rows too. The message names the row and the rule."""
        text = refusal(self.ROW + "as_number = 3320\n")
        assert "policy.peer[1]" in text
        assert "as_number_not_allowed" in text

    def test_a_row_without_an_identity_is_refused(self) -> None:
        """The message names the row by its position."""
        assert "policy.peer[2].identity is missing" in refusal(
            self.ROW + 'as_number = 64520\n[[policy.peer]]\nprotocol_addresses = ["10.255.0.8"]\n'
        )


class TestMaintenance:
    """``[[policy.maintenance]]``."""

    def test_a_row_has_an_identity_or_a_serial_number(self) -> None:
        """A serial number is written as openssl or pki prints it, with or without colons."""
        text = (
            '[[policy.maintenance]]\nidentity = "*CN=spoke17"\naction = "deny"\n'
            '[[policy.maintenance]]\nserial = "1F:2e"\naction = "quarantine"\n'
        )
        one, other = policy(text).maintenance
        assert (one.action, one.identity, one.serial) == (Action.DENY, "*CN=spoke17", None)
        assert (other.action, other.identity, other.serial) == (Action.QUARANTINE, None, 0x1F2E)

    @pytest.mark.parametrize("what", ["", 'identity = "x"\nserial = "1"\n'])
    def test_neither_or_both_is_refused(self, what: str) -> None:
        """The row would name no peer, or two."""
        text = refusal(f'[[policy.maintenance]]\naction = "deny"\n{what}')
        assert "policy.maintenance[1]: expected either identity or serial" in text


@pytest.mark.parametrize("before", [HUB, HUB.replace('"hub"', '"spoke"')], ids=["hub", "spoke"])
def test_a_hub_needs_the_hub_role_by_default(before: str) -> None:
    """The certificate or the row of a node that this node registers with has the role ``hub``."""
    by_default = policy("", before).rules["gre1"]
    assert {kind for kind in PeerKind if by_default[kind].requires_hub_role} == {PeerKind.HUB}
    relaxed = policy("[policy.hub]\nrequire_hub_role = false\n", before).rules["gre1"]
    assert not relaxed[PeerKind.HUB].requires_hub_role


CONTRADICTIONS: list[tuple[str, str]] = [
    ('forbidden_networks = ["192.168.0.0/16"]\n', "192.168.0.0/16 forbids all of 192.168.0.0/16 in allowed_networks"),
    ("max_prefix_length = 12\n", "no prefix in allowed_networks 192.168.0.0/16"),
    ("[policy.spoke]\nrequire_hub_role = true\n", "require_hub_role denies every peer that is not a hub"),
    ("allowed = false\n", "no kind of peer is allowed"),
    ('as_numbers = ["65535"]\n', "has only reserved numbers"),
    ('as_numbers = ["65000"]\n', "allow_ibgp is false"),
    ('[policy.sources]\norder = ["rfc3779"]\n', "no source names protocol addresses"),
    ("require_crl = true\n", "require_crl"),
    ("allow_ibgp = true\n", "needs a bgp.ibgp_peer_group of its own"),
]


@pytest.mark.parametrize(("text", "message"), CONTRADICTIONS)
def test_a_contradiction_is_refused(text: str, message: str) -> None:
    """The whole policy is checked before it comes into force."""
    assert message in refusal(text)


def test_a_table_instead_of_an_array_of_tables_is_refused() -> None:
    """``[policy.peer]`` instead of ``[[policy.peer]]`` is an easy mistake."""
    assert "expected tables: [[policy.peer]]" in refusal("[policy.peer]\nidentity = 'x'\n")


def test_an_unknown_table_is_refused() -> None:
    """``[policy.spokes]`` instead of ``[policy.spoke]``."""
    assert "policy.spokes is unknown" in refusal("[policy.spokes]\nallowed = false\n")
