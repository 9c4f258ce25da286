"""What setup finds out by itself, and what it asks."""

from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest

import bundles
from dmvpn_agent.config.table import ConfigError
from dmvpn_agent.setup.answers import Answers, parse_answer, read_answers
from dmvpn_agent.setup.bundle import read_bundle
from dmvpn_agent.setup.choose import choose
from dmvpn_agent.setup.node import Hub
from dmvpn_agent.setup.system import Uplink
from dmvpn_agent.x509.certificate import Role
from dmvpn_lab.dmvpn_ca import DmvpnCa
from guide_ca import Authority
from nodes import ANSWERS, MACHINE, hub_bundle, spoke_bundle

pytestmark = pytest.mark.filterwarnings("ignore:Parsed a serial number")


def test_a_spoke_needs_nothing_but_its_hub() -> None:
    node = choose(spoke_bundle(), MACHINE, ANSWERS).node
    assert node is not None
    assert (node.role, node.as_number, node.nbma_address) == (Role.SPOKE, 65017, IPv4Address("198.51.100.17"))
    assert node.tunnel_networks == (IPv4Network("10.255.0.0/24"),)
    assert node.lan_networks == (IPv4Network("192.168.17.0/24"),)
    assert (node.bridged, node.ibgp, node.dmvpn_ca) == (True, False, False)


def test_the_hub_is_asked_for_if_the_certificate_names_none() -> None:
    choice = choose(spoke_bundle(), MACHINE, Answers())
    assert choice.node is None
    assert [question.key for question in choice.questions] == ["hubs"]


def test_dmvpn_ca_names_the_hubs_and_the_networks() -> None:
    now = datetime.now(UTC)
    spoke = choose(read_bundle(bundles.pfx(bundles.of_dmvpn_ca()), None, now), MACHINE, Answers()).node
    hub = choose(read_bundle(bundles.pfx(bundles.of_dmvpn_ca("")), None, now), MACHINE, Answers()).node
    assert spoke is not None
    assert hub is not None
    assert spoke.hubs == (Hub("hubs.example.com"),)
    assert hub.tunnel_networks == (IPv4Network("172.18.0.0/16"),)
    assert hub.allowed_networks == (IPv4Network("10.0.0.0/8"),)
    assert spoke.ibgp
    assert hub.ibgp


@pytest.mark.parametrize(("blocks", "address"), [
    (("10.0.0.0/8",), "10.255.0.1"),  # 10.255.0.0/24 for protocol addresses, 10.0.0.0/8 for sites
    (("10.0.0.0/23",), "10.0.0.1"),  # 10.0.0.0/24 and 10.0.1.0/24
    (("10.0.0.0/8", "192.168.0.0/16"), "10.255.0.1"),
])  # fmt: skip
def test_a_block_that_may_hold_sites_networks_is_asked_about(blocks: tuple[str, ...], address: str) -> None:
    """A CA merges adjacent networks (RFC 3779, section 2.2.3.6); the answer leaves the rest to sites."""
    named = tuple(map(IPv4Network, blocks))
    bundle = read_bundle(bundles.pfx(DmvpnCa().certify("", [IPv4Address(address)], named)), None,
                         datetime.now(UTC))  # fmt: skip
    choice = choose(bundle, MACHINE, Answers())
    assert [question.key for question in choice.questions] == ["tunnel_networks"]
    assert blocks[0] in choice.questions[0].text
    tunnel = IPv4Network(f"{address}/24", strict=False)
    node = choose(bundle, MACHINE, Answers(tunnel_networks=(tunnel,))).node
    assert node is not None
    assert (node.tunnel_networks, node.allowed_networks) == ((tunnel,), named)


def test_a_block_without_a_hub_is_asked_about() -> None:
    """A network of protocol addresses has the hubs' addresses."""
    bundle = read_bundle(bundles.pfx(bundles.of_dmvpn_ca("")), None, datetime.now(UTC))
    elsewhere = Answers(hubs=(Hub("203.0.113.1", IPv4Address("172.19.0.1")),))
    assert [question.key for question in choose(bundle, MACHINE, elsewhere).questions] == ["tunnel_networks"]


def test_the_uplink_is_asked_for_only_where_it_is_not_clear() -> None:
    second = Uplink("eth1", IPv4Address("192.0.2.9"))
    equal = choose(spoke_bundle(), replace(MACHINE, uplinks=(*MACHINE.uplinks, second)), ANSWERS)
    worse = choose(spoke_bundle(), replace(MACHINE, uplinks=(*MACHINE.uplinks, replace(second, metric=100))), ANSWERS)
    none = choose(spoke_bundle(), replace(MACHINE, uplinks=()), ANSWERS)
    assert [question.key for question in equal.questions] == ["uplink"]
    assert worse.node is not None
    assert [question.key for question in none.questions] == ["uplink"]


@pytest.mark.parametrize(
    ("uplink", "what"),
    [("eth9", "the uplink"), ("203.0.113.99", "the uplink"), ("ppp0", "the uplink ppp0")],
)
def test_an_uplink_without_an_address_is_refused(uplink: str, what: str) -> None:
    machine = replace(MACHINE, links=MACHINE.links | {"ppp0"})
    choice = choose(spoke_bundle(), machine, replace(ANSWERS, uplink=uplink))
    assert [refusal.what for refusal in choice.refusals] == [what]


def test_a_default_route_without_an_ipv4_address_is_refused() -> None:
    choice = choose(spoke_bundle(), replace(MACHINE, uplinks=(Uplink("eth0", None),)), ANSWERS)
    assert [refusal.what for refusal in choice.refusals] == ["the uplink eth0"]


def test_the_tunnel_network_is_wide_enough_for_the_hubs() -> None:
    far = Answers(hubs=(Hub("203.0.113.1", IPv4Address("10.255.7.1")),))
    node = choose(spoke_bundle(), MACHINE, far).node
    assert node is not None
    assert node.tunnel_networks == (IPv4Network("10.255.0.0/21"),)


def test_a_tunnel_network_without_the_own_address_is_refused() -> None:
    wrong = replace(ANSWERS, tunnel_networks=(IPv4Network("10.9.0.0/24"),))
    assert [one.what for one in choose(spoke_bundle(), MACHINE, wrong).refusals] == ["tunnel_networks"]


def test_a_spokes_certificate_makes_no_hub() -> None:
    choice = choose(spoke_bundle(), MACHINE, replace(ANSWERS, role=Role.HUB))
    assert [one.what for one in choice.refusals] == ["the role"]


def test_without_an_interface_in_the_prefixes_they_are_announced_themselves() -> None:
    machine = replace(MACHINE, addresses=(("eth0", IPv4Interface("198.51.100.17/24")),))
    node = choose(spoke_bundle(), machine, ANSWERS).node
    assert node is not None
    assert node.lan_networks == (IPv4Network("192.168.17.0/24"),)


def test_of_a_larger_prefix_the_interfaces_network_is_announced() -> None:
    """Bgpd announces a network only if there is a route to exactly this network."""
    units = ("GRE=10.255.0.17", "AS=65017", "NET=192.168.0.0/16")
    bundle = read_bundle(bundles.pfx(bundles.guide(units)), None, datetime.now(UTC))
    node = choose(bundle, MACHINE, ANSWERS).node
    assert node is not None
    assert node.lan_networks == (IPv4Network("192.168.17.0/24"),)


def test_several_as_numbers_are_asked_about() -> None:
    units = ("GRE=10.255.0.17", "AS=65017", "AS=65018")
    bundle = read_bundle(bundles.pfx(Authority().issue("x", units)), None, datetime.now(UTC))
    assert [question.key for question in choose(bundle, MACHINE, ANSWERS).questions] == ["as_number"]


def test_every_value_has_a_source() -> None:
    values = choose(hub_bundle(), MACHINE, Answers()).values
    assert values
    assert all(value.source for _, value in values)


def test_the_answers_file() -> None:
    answers = read_answers(b'hubs = ["hub.example.com", "10.255.0.2=203.0.113.2"]\nuplink = "eth0"\nmtu = 1380\n')
    assert answers.hubs == (Hub("hub.example.com"), Hub("203.0.113.2", IPv4Address("10.255.0.2")))
    assert (answers.uplink, answers.mtu, answers.role) == ("eth0", 1380, None)


@pytest.mark.parametrize("text", [
    'hub = ["x"]', "hubs = 1", 'hubs = ["a b"]', 'hubs = ["10.255.0.1=hub\\nx"]', "as_number = 0", 'uplink = "e th"',
    "mtu = 100", 'tunnel_networks = ["10.0.0.1/24"]', "tunnel_networks = []", 'role = "king"',
])  # fmt: skip
def test_a_wrong_answer_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        read_answers(text.encode())


def test_what_is_typed_is_parsed_like_the_file() -> None:
    assert parse_answer("hubs", " a.example, 10.255.0.1=203.0.113.1 ")[0] == Hub("a.example")
    assert parse_answer("as_number", "65017") == 65017
    with pytest.raises(ConfigError):
        parse_answer("as_number", "many")
