"""IPv6 protocol addresses: nhrpd's second table, peers with several protocol addresses, peers with IPv6 only."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from configuration import config_from
from dmvpn_agent.addresses import Address
from dmvpn_agent.admission import metrics
from dmvpn_agent.admission.frr_nhrpd import FrrNhrpd
from dmvpn_agent.admission.peer_index import GRACE
from dmvpn_agent.admission.peers import Revoked
from dmvpn_agent.bgp.desired import desired, neighbor_bindings
from dmvpn_agent.bgp.plan import AddEntry, RemoveNeighbor, SetNeighbor
from dmvpn_agent.cli.configuration_text import configuration_text
from dmvpn_agent.frr.vty import VtySockets
from dmvpn_agent.policy.decision import Accept, Deny
from dmvpn_agent.policy.peer import Peer, PeerKind
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.policy.request import BindingRequest
from dmvpn_agent.view.status import peers_status
from dmvpn_agent.x509.certificate import Certificate
from dmvpn_agent.x509.certificate_reader import read_certificate
from factories import FRR, RULES, SETTINGS, decide, policy, request, spoke
from fakes.node import Node
from fakes.vty_server import VtyServer, reply

CASE = Path(__file__).parents[1] / "data/cases/ipv6-binding"
IPV4, IPV6 = ip_address("10.255.0.2"), ip_address("2001:db8:ff::2")
BOTH = policy(
    replace(
        RULES,
        tunnel_networks=(ip_network("10.255.0.0/24"), ip_network("2001:db8:ff::/64")),
        allowed_networks=(ip_network("192.168.0.0/16"), ip_network("2001:db8::/33")),
    )
)
DUAL = replace(SETTINGS, ipv6=True)
UNITS = ("GRE=10.255.0.2", "GRE=2001:db8:ff::2", "AS=64514", "NET=192.168.2.0/24", "NET=2001:db8:2::/48")


def _no_row(why: str) -> None:
    raise AssertionError(why)


def _peer(address: Address, number: int = 2) -> Peer:
    """Return the peer of a number by one of its protocol addresses."""
    return replace(spoke(number), protocol_address=address)


def _accepted(address: Address) -> tuple[BindingRequest, Accept]:
    asked = request(*UNITS, protocol_address=address)
    decision = decide(asked, BOTH)
    assert isinstance(decision, Accept)
    return asked, decision


def _both(node: Node) -> None:
    for address in (IPV4, IPV6):
        node.apply_decision(*_accepted(address))
    node.nhrpd.cache = frozenset({IPV4, IPV6})


class TestCache:
    """nhrpd keeps a table for each IP version."""

    async def test_both_tables_are_read(self, tmp_path: Path) -> None:
        """As a real nhrpd prints them for a peer with two protocol addresses."""
        tables = {
            "show ip nhrp cache json": (CASE / "nhrpd-ipv4.json").read_text(),
            "show ipv6 nhrp cache json": (CASE / "nhrpd-ipv6.json").read_text(),
        }
        nhrpd = FrrNhrpd(VtySockets(tmp_path), ["gre1"])
        async with VtyServer(tmp_path, lambda command: reply(tables.get(command, "")), "nhrpd"):
            bound = [one for version in (4, 6) for one in await nhrpd.bindings(version, _no_row)]
        assert [str(one.protocol_address) for one in bound] == ["10.255.0.9", "2001:db8:ff::9"]
        assert {str(one.nbma_address) for one in bound} == {"203.0.113.9"}

    async def test_an_ipv6_peer_stays_while_it_is_bound(self, node: Node) -> None:
        """For any time."""
        node.apply_decision(*_accepted(IPV6))
        node.nhrpd.cache = frozenset({IPV6})
        for _ in range(3):
            await node.bindings.refresh()
            node.clock.advance(FRR.linger + 1)
        assert IPV6 in node.peers
        assert node.bindings.bound == {IPV6}

    async def test_an_ipv6_peer_departs(self, node: Node) -> None:
        """When it has been missing in its own table for the linger time."""
        _both(node)
        await node.bindings.refresh()
        node.nhrpd.cache = frozenset({IPV4})
        await node.bindings.refresh()
        node.clock.advance(FRR.linger + 1)
        await node.bindings.refresh()
        assert IPV6 not in node.peers
        assert IPV4 in node.peers

    @pytest.mark.parametrize(("unread", "stays", "goes"), [(4, IPV4, IPV6), (6, IPV6, IPV4)])
    async def test_no_peer_of_an_unreadable_table_departs(
        self, node: Node, unread: int, stays: Address, goes: Address
    ) -> None:
        """Peers that left the other table depart as usual."""
        _both(node)
        await node.bindings.refresh()
        node.nhrpd.cache, node.nhrpd.unread = frozenset(), {unread}
        before = node.bindings.last_read
        for _ in range(2):
            await node.bindings.refresh()
            node.clock.advance(FRR.linger + 1)
        assert stays in node.peers
        assert goes not in node.peers
        assert node.bindings.bound == {stays}
        assert node.bindings.last_read == before
        assert node.bindings.trouble == f"the IPv{unread} table is unreadable"
        assert node.telemetry.value(metrics.CACHE_READS, "failed") == 2

    async def test_stored_peers_stay_until_their_table_is_read(self, node: Node) -> None:
        """After a restart stored peers count as absent until nhrpd shows them."""
        node.apply_decision(*_accepted(IPV6))
        node.nhrpd.cache, node.nhrpd.unread = frozenset(), {6}
        node.clock.advance(FRR.linger + 1)
        await node.bindings.refresh()
        assert IPV6 in node.peers

    async def test_an_unknown_binding_of_either_table_is_adopted(self, node: Node) -> None:
        """For example after the store was lost."""
        adopted: list[Address] = []

        def judge_unknown(bindings: Iterable[BindingRequest]) -> None:
            adopted.extend(binding.protocol_address for binding in bindings)

        node.bindings._judge_unknown = judge_unknown
        node.nhrpd.cache = frozenset({IPV4, IPV6})
        await node.bindings.refresh()
        assert adopted == [IPV4, IPV6]


class TestCertificate:
    """An IPv6 protocol address is one like any other."""

    NOW = datetime(2026, 12, 1, tzinfo=UTC)

    def _asked(self, address: str) -> BindingRequest:
        shown = x509.load_pem_x509_certificate((CASE / "both.pem").read_bytes())
        read = read_certificate(shown.public_bytes(Encoding.DER))
        assert isinstance(read, Certificate)
        return request(certificate=read, protocol_address=ip_address(address))

    @pytest.mark.parametrize("address", ["10.255.0.2", "2001:db8:ff::2"])
    def test_both_addresses_in_the_certificate_are_accepted(self, address: str) -> None:
        """They belong to one peer."""
        decision = decide(self._asked(address), BOTH, self.NOW)
        assert isinstance(decision, Accept)
        assert decision.peer is not None
        assert str(decision.peer.protocol_address) == address

    @pytest.mark.parametrize("address", ["2001:db8:ff::3", "2001:db8:ff::20", "::ffff:10.255.0.2", "2001:db8:fe::2"])
    def test_an_address_that_the_certificate_does_not_name_is_denied(self, address: str) -> None:
        """Also a form or a supernet of the one that it names."""
        decision = decide(self._asked(address), BOTH, self.NOW)
        assert isinstance(decision, Deny)
        assert decision.reason is Reason.PROTOCOL_ADDRESS_MISMATCH

    def test_one_outside_the_tunnel_networks_is_denied(self) -> None:
        """Whatever the certificate says."""
        decision = decide(self._asked("2001:db8:ff::2"), policy(), self.NOW)
        assert isinstance(decision, Deny)
        assert decision.reason is Reason.PROTOCOL_ADDRESS_OUTSIDE_TUNNEL


def test_check_names_the_lines_of_each_ip_version() -> None:
    """The lines of FRR's configuration for the tunnel networks in the policy."""
    bgp = {"as_number": 65000}
    tables = {"tunnel_networks": ["10.255.0.0/24", "2001:db8:ff::/64"], "allowed_networks": ["192.168.0.0/16"]}
    shown = configuration_text(config_from({"role": "hub", "bgp": bgp, "policy": tables}))
    assert "   ip nhrp redirect\n" in shown
    assert "   ipv6 nhrp redirect\n" in shown
    tables["tunnel_networks"] = ["2001:db8:ff::/64"]
    shown = configuration_text(config_from({"role": "hub", "bgp": bgp, "policy": tables}))
    assert "   ip nhrp redirect\n" not in shown
    assert "   ipv6 nhrp network-id N\n" in shown


class TestNeighbor:
    """One peer has one neighbor, whatever the number of its protocol addresses."""

    def test_the_neighbor_is_at_the_ipv4_address(self) -> None:
        """In whatever order the bindings came."""
        peers = [_peer(IPV6), _peer(IPV4)]
        for some in (peers, peers[::-1]):
            assert list(desired(some, DUAL).neighbors) == [IPV4]
            assert {address: peer.protocol_address for address, peer in neighbor_bindings(some, DUAL).items()} == {
                IPV4: IPV4,
                IPV6: IPV4,
            }

    def test_without_ipv4_address_the_neighbor_is_at_the_ipv6_address(self) -> None:
        """With a filter for each IP version."""
        wanted = desired([_peer(IPV6)], DUAL)
        assert list(wanted.neighbors) == [IPV6]
        assert wanted.neighbors[IPV6].prefix_lists == (
            "dmvpn-agent-2001:db8:ff::2-in",
            "dmvpn-agent-2001:db8:ff::2-in6",
        )
        assert set(wanted.prefix_lists) == set(wanted.neighbors[IPV6].prefix_lists)

    @pytest.mark.parametrize(
        "other",
        [
            {"identity": "another"},
            {"interface": "gre2"},
            {"nbma_address": ip_address("203.0.113.77")},
            {"identity": ""},
        ],
        ids=["identity", "interface", "nbma_address", "unknown"],
    )
    def test_another_peer_has_its_own_neighbor(self, other: dict[str, Any]) -> None:
        """Another identity, tunnel or NBMA address is another peer."""
        wanted = desired([_peer(IPV4), replace(_peer(IPV6), **other)], DUAL)
        assert set(wanted.neighbors) == {IPV4, IPV6}

    def test_a_spoke_has_neighbors_at_hub_addresses_only(self) -> None:
        """A hub's neighbor is never at an address whose binding is not a hub's."""
        peers = [_peer(IPV4), replace(_peer(IPV6), kind=PeerKind.HUB)]
        assert list(desired(peers, replace(DUAL, only_hubs=True)).neighbors) == [IPV6]

    async def test_the_neighbor_moves_when_its_address_leaves(self, node: Node) -> None:
        """After the grace time. The new neighbor's filter is written before the neighbor."""
        async with node.running():
            _both(node)
            await node.settled()
            assert node.configured() == {str(IPV4)}
            await node.bindings.refresh()
            node.nhrpd.cache = frozenset({IPV6})
            await node.bindings.refresh()
            node.clock.advance(GRACE.total_seconds() - 1)
            await node.settled()
            assert node.configured() == {str(IPV4)}
            node.clock.advance(1)
            node.bgpd.batches.clear()
            await node.settled()
            assert node.configured() == {str(IPV6)}
            assert IPV4 in node.peers
            written = [change for batch in node.bgpd.batches for change in batch]
            at = next(number for number, change in enumerate(written) if isinstance(change, SetNeighbor))
            assert any(isinstance(change, AddEntry) for change in written[:at])
            assert not any(isinstance(change, AddEntry) for change in written[at:])
            assert RemoveNeighbor(IPV4) in written
            node.nhrpd.cache = frozenset({IPV4, IPV6})
            await node.bindings.refresh()
            await node.settled()
        assert node.configured() == {str(IPV4)}

    async def test_the_neighbor_stays_while_no_other_address_is_bound(self, node: Node) -> None:
        """All addresses of an absent peer linger."""
        async with node.running():
            _both(node)
            await node.bindings.refresh()
            node.nhrpd.cache = frozenset()
            await node.bindings.refresh()
            node.clock.advance(FRR.linger)
            await node.settled()
        assert node.configured() == {str(IPV4)}

    async def test_the_status_shows_the_neighbor_of_each_address(self, node: Node) -> None:
        """The session is that of the neighbor's address."""
        async with node.running():
            _both(node)
            await node.settled()
        shown = peers_status(node.peers, node.reconciler, node.clock.both)
        assert [(peer["protocol_address"], peer["neighbor"]) for peer in shown] == [
            (str(IPV4), str(IPV4)),
            (str(IPV6), str(IPV4)),
        ]
        assert [peer["bgp"] is not None for peer in shown] == [True, False]

    async def test_the_neighbor_moves_to_the_ipv4_address_when_it_is_bound(self, node: Node) -> None:
        """Until then it is at the IPv6 address."""
        async with node.running():
            node.apply_decision(*_accepted(IPV6))
            await node.settled()
            assert node.configured() == {str(IPV6)}
            node.apply_decision(*_accepted(IPV4))
            await node.settled()
        assert node.configured() == {str(IPV4)}

    async def test_a_denial_removes_all_addresses(self, node: Node) -> None:
        """It concerns the certificate, whichever address the request was for."""
        async with node.running():
            _both(node)
            await node.settled()
            why = Deny(Reason.CERTIFICATE_REVOKED, "x", "y", "z")
            revoked = [node.peers.rejudge(member, lambda _: why) for member in node.peers.memberships()]
            node.reconciler.trigger()
            await node.settled()
        assert {gone.request.protocol_address for gone in revoked if isinstance(gone, Revoked)} == {IPV4, IPV6}
        assert node.configured() == set()

    def test_a_conflict_counts_for_each_address(self, node: Node) -> None:
        """Another peer with one of the prefixes conflicts with both bindings."""
        for address in (IPV4, IPV6):
            node.apply_decision(*_accepted(address))
        other = replace(spoke(3, "192.168.2.0/24"), identity="another")
        found = node.peers.conflicting(other, node.clock.uptime())
        assert {peer.protocol_address for peer in found} == {IPV4, IPV6}
