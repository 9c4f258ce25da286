"""The ``[policy]`` tables: what is general, what is special, and what is refused."""

import tomllib

import pytest

from configuration import config_from
from dmvpn_agent.config.values import ConfigError
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
    """What a more special table leaves out is as in the more general one."""

    def test_a_kind_of_peer_has_its_own(self) -> None:
        """The others keep the general rules."""
        text = "max_prefixes = 5\n[policy.hub]\nmax_prefixes = 50\nallow_default_route = true\n"
        assert (rules(text, PeerKind.HUB).max_prefixes, rules(text).max_prefixes) == (50, 5)
        assert rules(text, PeerKind.HUB).allows_default_route
        assert rules(text, PeerKind.HUB).tunnel_networks == rules(text).tunnel_networks

    def test_another_interface_has_its_own(self) -> None:
        """Its kinds of peer as well."""
        text = (
            'max_prefixes = 5\n[policy.interfaces.gre2]\ntunnel_networks = ["10.254.0.0/24"]\n'
            "[policy.hub]\nallowed = false\n"
        )
        assert str(rules(text, interface="gre2").tunnel_networks[0]) == "10.254.0.0/24"
        assert rules(text, interface="gre2").max_prefixes == 5
        assert not rules(text, PeerKind.HUB, "gre2").allowed

    def test_a_special_table_knows_no_other_keys(self) -> None:
        """A typing mistake never turns a rule off, wherever it is made."""
        assert "policy.hub.max_prefix is unknown" in refusal("[policy.hub]\nmax_prefix = 3\n")
        assert "policy.interfaces.gre2.allow is unknown" in refusal("[policy.interfaces.gre2]\nallow = true\n")

    def test_rules_are_for_an_interface_that_there_is(self) -> None:
        """A typing mistake in its name is told, with the names there are."""
        told = refusal("[policy.interfaces.gre3]\nallowed = false\n")
        assert told == "policy.interfaces.gre3: expected one of nhrp.interfaces: gre1, gre2"

    def test_an_interface_without_rules_of_its_own_has_the_general_ones(self) -> None:
        """It need not be named again."""
        assert rules("", interface="gre2") == rules("")


def test_values_mean_what_they_say() -> None:
    """Each key arrives where it belongs."""
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


def test_sources_are_ordered_and_combined_as_given() -> None:
    """One that is not named does not count."""
    read = policy('[policy.sources]\norder = ["rfc3779", "subject"]\ncombine = "agree"\n')
    assert (read.sources, read.combination) == ((Source.RFC3779, Source.SUBJECT), Combination.AGREE)
    assert "a list of some of" in refusal('[policy.sources]\norder = ["subject", "subject"]\n')
    assert "a list of some of" in refusal('[policy.sources]\norder = ["static"]\n')


class TestStaticTable:
    """``[[policy.peer]]``."""

    ROW = '[[policy.peer]]\nidentity = "*@example.net"\nprotocol_addresses = ["10.255.0.7"]\n'

    def test_a_row_has_what_a_certificate_would_name(self) -> None:
        """Addresses, AS number, prefixes, role."""
        (row,) = policy(self.ROW + 'as_number = 64520\nprefixes = ["192.168.7.0/24"]\nrole = "hub"\n').static_peers
        assert (row.identity, row.overrides) == ("*@example.net", False)
        found = row.resources
        values = [
            claim.value for claim in (*found.protocol_addresses, *found.as_numbers, *found.prefixes, *found.roles)
        ]
        assert [str(value) for value in values] == ["10.255.0.7", "64520", "192.168.7.0/24", "hub"]
        assert values[-1] is Role.HUB

    def test_a_row_that_the_policy_would_deny_is_refused(self) -> None:
        """The table is no way around the rules; the row and the rule are named."""
        text = refusal(self.ROW + "as_number = 3320\n")
        assert "policy.peer[1]" in text
        assert "as_number_not_allowed" in text

    def test_a_row_without_an_identity_is_refused(self) -> None:
        """The row is named by its place."""
        assert "policy.peer[2].identity is missing" in refusal(
            self.ROW + 'as_number = 64520\n[[policy.peer]]\nprotocol_addresses = ["10.255.0.8"]\n'
        )


class TestMaintenance:
    """``[[policy.maintenance]]``."""

    def test_by_identity_or_by_serial(self) -> None:
        """As openssl and pki print serial numbers, with colons or without."""
        text = (
            '[[policy.maintenance]]\nidentity = "*CN=spoke17"\naction = "deny"\n'
            '[[policy.maintenance]]\nserial = "1F:2e"\naction = "quarantine"\n'
        )
        one, other = policy(text).maintenance
        assert (one.action, one.identity, one.serial) == (Action.DENY, "*CN=spoke17", None)
        assert (other.action, other.identity, other.serial) == (Action.QUARANTINE, None, 0x1F2E)

    @pytest.mark.parametrize("what", ["", 'identity = "x"\nserial = "1"\n'])
    def test_neither_or_both_is_refused(self, what: str) -> None:
        """Nobody knows who is meant."""
        text = refusal(f'[[policy.maintenance]]\naction = "deny"\n{what}')
        assert "policy.maintenance[1]: expected either identity or serial" in text


@pytest.mark.parametrize("before", [HUB, HUB.replace('"hub"', '"spoke"')], ids=["hub", "spoke"])
def test_a_hub_must_say_so_by_default(before: str) -> None:
    """Whoever this node registers with: its certificate, or its row, has the hub's role."""
    by_default = policy("", before).rules["gre1"]
    assert {kind for kind in PeerKind if by_default[kind].requires_hub_role} == {PeerKind.HUB}
    relaxed = policy("[policy.hub]\nrequire_hub_role = false\n", before).rules["gre1"]
    assert not relaxed[PeerKind.HUB].requires_hub_role


CONTRADICTIONS: list[tuple[str, str]] = [
    ('forbidden_networks = ["192.168.0.0/16"]\n', "all of allowed_networks 192.168.0.0/16 is forbidden"),
    ("max_prefix_length = 12\n", "nothing in allowed_networks 192.168.0.0/16"),
    ("[policy.spoke]\nrequire_hub_role = true\n", "require_hub_role denies every peer that is not a hub"),
    ("allowed = false\n", "no kind of peer is allowed"),
    ('as_numbers = ["65535"]\n', "is reserved"),
    ('as_numbers = ["65000"]\n', "allow_ibgp is false"),
    ('[policy.sources]\norder = ["rfc3779"]\n', "no source names protocol addresses"),
    ("require_crl = true\n", "require_crl"),
    ("allow_ibgp = true\n", "needs a bgp.ibgp_peer_group of its own"),
]


@pytest.mark.parametrize(("text", "said"), CONTRADICTIONS)
def test_a_contradiction_is_refused_by_name(text: str, said: str) -> None:
    """A policy is looked at as a whole before it is in force."""
    assert said in refusal(text)


def test_the_special_table_of_an_absent_array_is_refused() -> None:
    """``[policy.peer]`` instead of ``[[policy.peer]]`` is a mistake that is easily made."""
    assert "expected tables: [[policy.peer]]" in refusal("[policy.peer]\nidentity = 'x'\n")


def test_a_table_that_does_not_exist_is_refused() -> None:
    """The tables are those of the example, no more."""
    assert "policy.spokes is unknown" in refusal("[policy.spokes]\nallowed = false\n")
