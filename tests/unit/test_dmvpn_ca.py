"""dmvpn-ca's certificates, judged by the configuration that is shipped for them (docs/dmvpn-ca.md)."""

import tomllib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from configuration import config_from
from dmvpn_agent.addresses import covers
from dmvpn_agent.admission.peers import Peers, Revoked
from dmvpn_agent.bgp.desired import desired
from dmvpn_agent.bgp.prefix_filter import filter_entries
from dmvpn_agent.config.settings import Config
from dmvpn_agent.policy.conflict_rules import decide_conflicts, no_holders
from dmvpn_agent.policy.decision import Accept, Decision, Deny
from dmvpn_agent.policy.judge import Judge
from dmvpn_agent.policy.peer import Peer, PeerKind
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.policy.request import BindingRequest, BindingType
from dmvpn_agent.policy.rules import OnConflict, Policy
from dmvpn_agent.x509.authorities import read_authorities
from dmvpn_agent.x509.certificate import Certificate
from dmvpn_agent.x509.certificate_reader import read_certificate
from dmvpn_agent.x509.settings import TrustFiles
from dmvpn_agent.x509.signer_cache import SignerCache
from dmvpn_agent.x509.trust import Trust
from dmvpn_agent.x509.trust_files import read_trust
from dmvpn_agent.x509.trust_store import TrustStore
from dmvpn_lab.dmvpn_ca import DmvpnCa
from factories import Clock
from fakes.frr import MemoryStore
from placeholders import render

CHECKOUT = Path(__file__).parents[2]
DATA = CHECKOUT / "tests/data/cases/dmvpn-ca"
AT = datetime(2026, 12, 1, tzinfo=UTC)
CASES = {"TUNNEL_NETWORK": '10.255.0.0/16", "2001:db8::/96', "ALLOWED_NETWORK": '192.168.0.0/16", "2001:db8::/32'}
README = {"TUNNEL_NETWORK": '172.18.0.0/16", "fd00::/96', "ALLOWED_NETWORK": '10.0.0.0/8", "fd00::/32'}
START = Clock().uptime()


def shipped(role: str, networks: dict[str, str], *changes: tuple[str, str]) -> Config:
    """Return the shipped configuration with its placeholders filled, and single lines changed."""
    text = render((CHECKOUT / f"deploy/agent.dmvpn-ca.{role}.toml").read_text(), {**networks, "AS_NUMBER": 65000})
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return config_from(tomllib.loads(text))


@cache
def trust() -> Trust:
    found, problems = read_trust(TrustFiles((DATA / "x509ca",), ()))
    assert not problems
    return found


def read(pem: bytes) -> Certificate:
    loaded = read_certificate(x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER))
    assert isinstance(loaded, Certificate)
    return loaded


@cache
def case(name: str) -> Certificate:
    return read((DATA / f"{name}.pem").read_bytes())


def ask(certificate: Certificate, address: str, kind: BindingType = BindingType.DYNAMIC) -> BindingRequest:
    number = int(ip_address(address)) & 0xFFFF
    return BindingRequest("gre1", kind, ip_address(address), ip_address("203.0.0.0") + number, certificate)


def decide(by: Policy, asked: BindingRequest, peers: Peers | None = None, trusting: Trust | None = None) -> Any:
    """Decide; with ``peers``, beside the peers already there, and record the decision."""
    decision = Judge(by, trusting or trust()).decide(asked, AT)
    if peers is not None:
        decision = _beside(by, decision, peers.conflicting)
        peers.apply_decision(asked, decision, START)
    return decision


def _beside(by: Policy, decision: Decision, holders: Callable[[Peer, timedelta], tuple[Peer, ...]]) -> Decision:
    """Return the decision, given what other peers hold."""
    if isinstance(decision, Deny):
        return decision
    return decide_conflicts(decision, by, lambda one: holders(one, START), no_holders)


def peer(by: Policy, asked: BindingRequest, peers: Peers | None = None) -> Peer:
    decision = decide(by, asked, peers)
    assert isinstance(decision, Accept), decision
    assert decision.peer is not None
    return decision.peer


HUB, SPOKE = shipped("hub", CASES).policy, shipped("spoke", CASES).policy
HUBS = [("hub1", "10.255.0.1"), ("hub2", "10.255.0.2"), ("hub3", "10.255.0.3")]


class TestHubs:
    """The blocks of a hub are those of the whole network, and name what it carries for others."""

    @pytest.mark.parametrize(("name", "address"), HUBS)
    def test_a_spoke_accepts_its_hub_and_a_hub_the_other(self, name: str, address: str) -> None:
        """The tunnel network may be in its blocks or not."""
        for by, kind in ((SPOKE, BindingType.NHS), (HUB, BindingType.NHS), (HUB, BindingType.DYNAMIC)):
            assert peer(by, ask(case(name), address, kind)).kind is PeerKind.HUB

    @pytest.mark.parametrize(("name", "address"), HUBS)
    def test_what_it_carries_conflicts_with_no_peer(self, name: str, address: str) -> None:
        """This is so in any order of hubs and sites."""
        for order in ((name, "fin1"), ("fin1", name)):
            peers = Peers(MemoryStore())
            for one in order:
                asked = ask(case(one), address if one == name else "10.255.1.1")
                assert isinstance(decide(HUB, asked, peers), Accept)

    @pytest.mark.parametrize(("name", "address"), HUBS)
    @pytest.mark.parametrize("by", [HUB, SPOKE], ids=["hub", "spoke"])
    def test_its_filter_follows_the_policy(self, name: str, address: str, by: Policy) -> None:
        """It permits only allowed networks and tunnel networks, without forbidden ones, for any blocks."""
        forbidden = (ip_network("192.168.7.0/24"),)
        rules = {kind: replace(one, forbidden_networks=forbidden) for kind, one in by.rules["gre1"].items()}
        asked = ask(case(name), address, BindingType.NHS)
        entries = filter_entries(peer(replace(by, rules={"gre1": rules}), asked), 4)
        permits = {str(entry) for entry in entries if entry.permit}
        longest = rules[PeerKind.HUB].max_prefix_length[0]
        assert permits == {f"permit 192.168.0.0/16 le {longest}", "permit 10.255.0.0/16 le 32"}
        assert any(not entry.permit and covers(entry.prefix, forbidden[0]) for entry in entries)

    def test_its_blocks_entitle_it_to_nothing(self) -> None:
        """Without blocks its filter is the same."""
        wide, narrow = (ask(case(name), address) for name, address in (HUBS[0], HUBS[2]))
        assert peer(HUB, wide).transit == peer(HUB, narrow).transit

    def test_its_tunnel_networks_may_be_longer_than_any_sites_prefix(self) -> None:
        """max_prefix_length is for sites' prefixes, and a small network has a long tunnel network."""
        by = shipped("hub", CASES, ('"10.255.0.0/16"', '"10.255.0.0/16", "172.30.0.0/28"')).policy
        assert isinstance(decide(by, ask(case("hub1"), "10.255.0.1")), Accept)

    def test_blocks_outside_the_network_deny(self) -> None:
        """Certificate and policy contradict each other."""
        by = shipped("hub", {**CASES, "ALLOWED_NETWORK": "172.16.0.0/12"}).policy
        assert decide(by, ask(case("hub3"), "10.255.0.3")).reason is Reason.PREFIX_NOT_ALLOWED

    @pytest.mark.parametrize(
        ("host", "networks", "reason"),
        [
            ("192.168.66.7", "192.168.0.0/16", None),
            ("192.168.66.7", "192.168.0.0/18", Reason.HOST_OUTSIDE_PREFIXES),
            ("192.169.0.7", "192.168.0.0/16", Reason.HOST_OUTSIDE_PREFIXES),
        ],
    )
    def test_a_spoke_binds_hosts_behind_a_hub_in_what_it_may_announce(
        self, host: str, networks: str, reason: Reason | None
    ) -> None:
        """Blocks wider than allowed_networks add no hosts."""
        by = shipped("spoke", {**CASES, "ALLOWED_NETWORK": f'{networks}", "2001:db8::/32'}).policy
        decision = decide(by, ask(case("hub1"), host, BindingType.CACHED))
        assert (decision.reason if isinstance(decision, Deny) else None) is reason

    def test_without_transit_a_hubs_blocks_are_its_own(self) -> None:
        """With policy.hub.transit = false a hub is judged like any peer."""
        by = shipped("hub", CASES, ("[policy.sources]", "[policy.hub]\ntransit = false\n[policy.sources]")).policy
        assert decide(by, ask(case("hub1"), "10.255.0.1")).reason in {
            Reason.PREFIX_NOT_ALLOWED, Reason.PREFIX_FORBIDDEN,
        }  # fmt: skip

    def test_a_site_called_hubs_is_no_hub(self) -> None:
        """A site may have any name; only dmvpn-ca's extension marks a hub."""
        hubs = DmvpnCa()
        mine = hubs.certify("Hubs", [ip_address("10.255.1.9")], [ip_network("192.168.9.0/24")])
        asked = ask(read(mine.certificate), "10.255.1.9")
        decision = decide(HUB, asked, trusting=trusting_in(hubs))
        assert isinstance(decision, Accept)
        assert decision.peer is not None
        assert (decision.peer.kind, decision.peer.transit) == (PeerKind.SPOKE, None)


def trusting_in(*authorities: DmvpnCa) -> Trust:
    given = [one for ca in authorities for one in read_authorities(ca.root)]
    return TrustStore(given, signer_cache=SignerCache()).trust(requires_chain=True)


class TestSites:
    """The routers of a site have the same prefixes, and each a name and protocol addresses of its own."""

    FIN1, FIN2 = ask(case("fin1"), "10.255.1.1"), ask(case("fin2"), "10.255.1.2")

    def test_both_are_accepted_each_with_a_filter_of_the_sites_prefixes(self) -> None:
        """Each has a neighbor of its own."""
        peers = Peers(MemoryStore())
        first, second = peer(HUB, self.FIN1, peers), peer(HUB, self.FIN2, peers)
        assert first.prefixes == second.prefixes
        settings = shipped("hub", CASES).bgp
        assert settings is not None
        wanted = desired(peers, settings)
        assert {str(address): neighbor.peer_group for address, neighbor in wanted.neighbors.items()} == {
            "10.255.1.1": "spokes-ibgp", "10.255.1.2": "spokes-ibgp",
        }  # fmt: skip
        assert [[str(entry) for entry in wanted.prefix_lists[f"dmvpn-agent-10.255.1.{n}-in"]] for n in (1, 2)] == [
            ["permit 192.168.1.0/24 le 26"]
        ] * 2

    def test_when_one_leaves_the_other_stays(self) -> None:
        """It keeps the prefixes that both held."""
        peers = Peers(MemoryStore())
        for asked in (self.FIN1, self.FIN2):
            peer(HUB, asked, peers)
        peers.update_bound(frozenset({self.FIN2.protocol_address}), START)
        assert [
            one.protocol_address for one in peers.remove_absent(timedelta(hours=1), START + timedelta(hours=2))
        ] == [self.FIN1.protocol_address]
        assert [one.protocol_address for one in peers] == [self.FIN2.protocol_address]
        assert peers.conflicting(
            replace(next(iter(peers)), identity="x", site="", protocol_address=ip_address("10.255.1.9")), START
        )

    def test_both_come_back_after_a_restart(self) -> None:
        """The store is enough, without nhrpd."""
        store = MemoryStore()
        peers = Peers(store)
        for asked in (self.FIN1, self.FIN2):
            peer(HUB, asked, peers)
        again = Peers(store)
        assert again.load(lambda asked: decide(HUB, asked), START) == ()
        assert {one.protocol_address for one in again} == {one.protocol_address for one in peers}

    def test_by_default_the_second_is_denied(self) -> None:
        """The operator must configure sharing."""
        by = shipped("hub", CASES, ('on_conflict = "share"', "")).policy
        peers = Peers(MemoryStore())
        peer(by, self.FIN1, peers)
        assert decide(by, self.FIN2, peers).reason is Reason.PREFIX_CONFLICT

    def test_a_policy_that_no_longer_shares_keeps_one(self) -> None:
        """Both were accepted; the one judged first is dropped."""
        peers = Peers(MemoryStore())
        for asked in (self.FIN1, self.FIN2):
            peer(HUB, asked, peers)
        by = shipped("hub", CASES, ('on_conflict = "share"', "")).policy
        judge = Judge(by, trust())
        outcomes = [
            peers.rejudge(member, lambda asked: _beside(by, judge.decide(asked, AT), peers.gained_conflicts))
            for member in peers.memberships()
        ]
        gone = outcomes[0]
        assert isinstance(gone, Revoked)
        assert (gone.request.protocol_address, gone.why.reason) == (
            self.FIN1.protocol_address,
            Reason.PREFIX_CONFLICT,
        )
        assert outcomes[1] is True
        assert [one.protocol_address for one in peers] == [self.FIN2.protocol_address]

    def test_a_protocol_address_is_never_shared(self) -> None:
        """Two certificates of one site with one address conflict."""
        ca = DmvpnCa()
        trusted = trusting_in(ca)
        peers = Peers(MemoryStore())
        given = [ca.certify("FIN", [ip_address("10.255.1.1")], [ip_network("192.168.1.0/24")]) for _ in "12"]
        first, second = (ask(read(one.certificate), "10.255.1.1") for one in given)
        assert isinstance(decide(HUB, first, peers, trusted), Accept)
        denied = decide(HUB, second, peers, trusted)
        assert isinstance(denied, Deny)
        assert denied.reason is Reason.PROTOCOL_ADDRESS_CONFLICT


class TestNoOtherPeerShares:
    """Only peers that the same key certified for the same site and prefixes share."""

    HELD = ("FIN", ["192.168.1.0/24"])

    @pytest.mark.parametrize(
        ("site", "prefixes"),
        [
            ("SWE", ["192.168.1.0/24"]),
            ("FIN2", ["192.168.1.0/24"]),
            ("Hubs", ["192.168.1.0/24"]),
            ("FIN", ["192.168.1.0/25"]),
            ("FIN", ["192.168.0.0/23"]),
            ("FIN", ["192.168.1.0/24", "192.168.2.0/24"]),
            ("NET=192.168.1.0/24", ["192.168.1.0/24"]),
        ],
    )
    def test_another_site_or_other_prefixes(self, site: str, prefixes: list[str]) -> None:
        """The order does not matter."""
        ca = DmvpnCa()
        for order in ((self.HELD, (site, prefixes)), ((site, prefixes), self.HELD)):
            reasons = [denial for denial in self._admit([(ca, *one) for one in order], trusting_in(ca)) if denial]
            assert reasons == [Reason.PREFIX_CONFLICT]

    def test_another_ca_of_the_same_name(self) -> None:
        """Both are the operator's CAs, with one name and two keys."""
        one, other = DmvpnCa(), DmvpnCa()
        trusted = trusting_in(one, other)
        other.certify("FIN", [ip_address("10.255.9.9")], [])  # so that the next one has another name
        assert self._admit([(one, *self.HELD), (other, *self.HELD)], trusted) == [None, Reason.PREFIX_CONFLICT]
        assert self._admit([(one, *self.HELD), (one, *self.HELD)], trusted) == [None, None]

    def test_without_a_chain_to_a_ca(self) -> None:
        """Without a chain the issuing key is unknown."""
        ca = DmvpnCa()
        assert self._admit([(ca, *self.HELD), (ca, *self.HELD)], Trust()) == [None, Reason.PREFIX_CONFLICT]

    @pytest.mark.parametrize("blank", ["", " ", "\u00a0"])
    def test_a_blank_ou(self, blank: str) -> None:
        """It names no site."""
        subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, blank, _validate=False)])
        assert read(DmvpnCa().certificate(subject, ()).certificate).site == ""

    def test_a_hub_has_no_site(self) -> None:
        """Resources and the name of the holder are not a site."""
        assert read((DATA / "fin1.pem").read_bytes()).site != ""
        assert read((DATA / "hub1.pem").read_bytes()).site == ""

    def _admit(self, given: list[tuple[DmvpnCa, str, list[str]]], trusted: Trust) -> list[Reason | None]:
        by = replace(HUB, rules={"gre1": {kind: replace(one, requires_hub_role=False)
                                          for kind, one in HUB.rules["gre1"].items()}})  # fmt: skip
        assert by.rules["gre1"][PeerKind.SPOKE].on_conflict is OnConflict.SHARE
        peers, reasons = Peers(MemoryStore()), []
        for number, (ca, site, prefixes) in enumerate(given, start=1):
            address = f"10.255.9.{number}"
            mine = ca.certify(site, [ip_address(address)], [ip_network(one) for one in prefixes])
            decision = decide(by, ask(read(mine.certificate), address), peers, trusted)
            reasons.append(decision.reason if isinstance(decision, Deny) else None)
        return reasons


def test_every_certificate_of_its_readme_is_accepted() -> None:
    """These are two hubs and two sites with two routers each, IPv4 and IPv6, one with its own AS number."""
    ca = DmvpnCa()
    trusted = trusting_in(ca)
    whole = [ip_network(one) for one in ("10.0.0.0/8", "172.18.0.0/16", "fd00::/32")]
    issued: list[tuple[str, Certificate]] = []
    for number in (1, 2):
        addresses = [ip_address(f"172.18.0.{number}"), ip_address(f"fd00::{number}")]
        issued.append((f"172.18.0.{number}", read(ca.certify("", addresses, whole).certificate)))
    for site, name in enumerate(("FIN", "SWE"), start=1):
        subnets = [ip_network(f"10.{site}.0.0/16"), ip_network(f"fd00:0:{site}::/48")]
        for number in (1, 2):
            addresses = [ip_address(f"172.18.{site}.{number}"), ip_address(f"fd00::{site}:{number}")]
            mine = ca.certify(name, addresses, subnets)
            issued.append((f"172.18.{site}.{number}", read(mine.certificate)))
    for role in ("hub", "spoke"):
        by, peers = shipped(role, README).policy, Peers(MemoryStore())
        for address, certificate in issued:
            kind = BindingType.NHS if address.startswith("172.18.0.") else BindingType.DYNAMIC
            assert isinstance(decide(by, ask(certificate, address, kind), peers, trusted), Accept), (role, address)
        assert len(peers) == len(issued)
