"""A scenario as data: which nodes there are, how they are linked, what is done to them and what must become true.

The TOML form is described in ``scenarios/README.md``.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Any

from dmvpn_lab.strongswan import MODES
from dmvpn_lab.tables import ScenarioError, build, build_tagged

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

ROLES = ("hub", "spoke")
#: The tunnel interface of each node, and its GRE key.
GRE, KEY = "gre1", 42
#: Whose form certificates have, and which configuration goes with it.
AUTHORITIES = ("guide", "dmvpn-ca")
_KEYS = ("title", "mode", "authority", "setup", "networks", "nodes", "routers", "second", "steps")


@dataclass(frozen=True, slots=True)
class Node:
    """A DMVPN node with a host behind it.

    ``protocol_address`` and ``lan`` may be of either IP version; a node that has both has those of IPv6 in
    ``protocol_address_ipv6`` and ``lan_ipv6``.
    Its certificate names its protocol addresses, its AS number and, of a spoke, its LANs; ``addresses`` and
    ``prefixes`` are in it instead, if given. Nodes with the same ``site`` have the same prefixes.
    ``comment`` is how many bytes of comment make the certificate larger, ``behind``
    the name of the NAT router it sits at, if any; a ``late`` node is started by an action; a spoke that is ``second``
    is in the hub's second DMVPN. ``openrc``: OpenRC starts its daemons, on a machine that has it. ``managed``: its
    agent makes the tunnel interface. ``uplink``: its agent keeps the tunnel's local address; ``backup`` names the NAT
    router of a second uplink, on which the node has ``backup_address``.
    """

    name: str
    role: str
    nbma_address: IPv4Address
    protocol_address: Address
    as_number: int
    lan: Network
    addresses: tuple[Address, ...] = ()
    prefixes: tuple[Network, ...] = ()
    site: str = ""
    comment: int = 0
    behind: str | None = None
    late: bool = False
    second: bool = False
    openrc: bool = False
    managed: bool = False
    uplink: bool = False
    backup: str | None = None
    backup_address: IPv4Address | None = None
    protocol_address_ipv6: IPv6Address | None = None
    lan_ipv6: IPv6Network | None = None

    @property
    def protocol_addresses(self) -> tuple[Address, ...]:
        """All its addresses on the tunnel."""
        return tuple(filter(None, (self.protocol_address, self.protocol_address_ipv6)))

    @property
    def lans(self) -> tuple[Network, ...]:
        """All networks behind it."""
        return tuple(filter(None, (self.lan, self.lan_ipv6)))

    @property
    def site_name(self) -> str:
        """What the CA calls its site."""
        return self.site or self.name

    @property
    def certified_addresses(self) -> tuple[Address, ...]:
        """The protocol addresses in its certificate."""
        return self.addresses or self.protocol_addresses

    @property
    def certified_prefixes(self) -> tuple[Network, ...]:
        """The prefixes in its certificate, if it is a spoke's."""
        return self.prefixes or self.lans

    def host(self, *, ipv6: bool = False) -> Address:
        """The address of the host behind it; ``ipv6``: that in ``lan_ipv6``."""
        return (self.lan_ipv6 if ipv6 and self.lan_ipv6 else self.lan)[2]


@dataclass(frozen=True, slots=True)
class Second:
    """A hub's second tunnel interface, over an NBMA address of its own, for a DMVPN of its own."""

    hub: str
    nbma_address: IPv4Address
    protocol_address: IPv4Address
    network: IPv4Network


@dataclass(frozen=True, slots=True)
class Router:
    """A router that translates what comes from its ``inside`` to its address ``outside`` on the internet."""

    name: str
    outside: IPv4Address
    inside: IPv4Interface


@dataclass(frozen=True, slots=True)
class Networks:
    """``internet`` is where NBMA addresses and routers' outsides lie, ``tunnel`` the overlay, ``allowed`` LANs.

    ``tunnel_ipv6`` and ``allowed_ipv6`` are those of IPv6 where nodes have both IP versions.
    """

    internet: IPv4Network
    tunnel: Network
    allowed: Network
    tunnel_ipv6: IPv6Network | None = None
    allowed_ipv6: IPv6Network | None = None

    @property
    def tunnels(self) -> tuple[Network, ...]:
        """The overlay's network of each IP version."""
        return tuple(filter(None, (self.tunnel, self.tunnel_ipv6)))

    @property
    def alloweds(self) -> tuple[Network, ...]:
        """What LANs lie in, of each IP version."""
        return tuple(filter(None, (self.allowed, self.allowed_ipv6)))


@dataclass(frozen=True, slots=True)
class Step:
    """``do`` in order, then wait until all of ``expect`` is true at once, at most ``seconds``.

    The members of ``do`` are actions, those of ``expect`` expectations.
    """

    title: str
    do: tuple[Any, ...]
    expect: tuple[Any, ...]
    seconds: int


@dataclass(frozen=True, slots=True)
class Scenario:
    """A whole scenario; ``mode`` is how nhrpd and charon come together (``dmvpn_lab.strongswan``).

    ``authority`` is one of ``AUTHORITIES``. ``setup``: the nodes get their files from ``dmvpn-agent setup``.
    """

    name: str
    title: str
    networks: Networks
    nodes: Mapping[str, Node]
    routers: Mapping[str, Router]
    steps: tuple[Step, ...]
    mode: str = "bridged"
    authority: str = "guide"
    second: Second | None = None
    setup: bool = False

    @property
    def hubs(self) -> tuple[Node, ...]:
        """The hubs in the order of the file: those that a spoke's configuration names."""
        return tuple(node for node in self.nodes.values() if node.role == "hub")

    @property
    def spokes(self) -> tuple[Node, ...]:
        """The spokes in the order of the file."""
        return tuple(node for node in self.nodes.values() if node.role == "spoke")

    @property
    def all_tunnels(self) -> tuple[Network, ...]:
        """The networks of all protocol addresses, with those of the second DMVPN."""
        return (*self.networks.tunnels, *((self.second.network,) if self.second else ()))

    def outer_address(self, name: str) -> str:
        """The address that others see of a node: its own NBMA address, or that of the router it sits behind."""
        node = self.nodes[name]
        return str(self.routers[node.behind].outside if node.behind else node.nbma_address)

    def second_at(self, name: str) -> Second | None:
        """The second tunnel that begins or ends at a node, if any."""
        second = self.second
        return second if second and (self.nodes[name].second or name == second.hub) else None

    def protocol_address(self, name: str, seen_from: str) -> str:
        """The protocol address by which one node knows another, or by which bgpd knows itself."""
        second = self.second_at(seen_from)
        if second and second.hub == name != seen_from:
            return str(second.protocol_address)
        return str(self.nodes[name].protocol_address)


Vocabulary = Mapping[str, type[Any]]


def load(file: Path, actions: Vocabulary, expectations: Vocabulary) -> Scenario:
    """Read a scenario file. Raises ``ScenarioError``."""
    try:
        return parse(file.stem, tomllib.loads(file.read_text()), actions, expectations)
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ScenarioError(f"{file}: {error}") from None


def parse(name: str, raw: Mapping[str, Any], actions: Vocabulary, expectations: Vocabulary) -> Scenario:
    """Make a scenario from its parsed TOML. Raises ``ScenarioError``."""
    for key in raw:
        if key not in _KEYS:
            raise ScenarioError(f"{name}: {key} is not a key; here are allowed: {', '.join(_KEYS)}")
    scenario = Scenario(
        name=name,
        title=raw.get("title", name),
        mode=raw.get("mode", "bridged"),
        authority=raw.get("authority", "guide"),
        setup=raw.get("setup", False),
        networks=build(Networks, raw.get("networks", {}), f"{name}: networks"),
        nodes={k: build(Node, {"name": k, **v}, f"{name}: nodes.{k}") for k, v in raw.get("nodes", {}).items()},
        routers={
            k: build(Router, {"name": k, **v}, f"{name}: routers.{k}") for k, v in raw.get("routers", {}).items()
        },
        second=build(Second, raw["second"], f"{name}: second") if "second" in raw else None,
        steps=tuple(
            _step(f"{name}: steps[{i}]", v, actions, expectations) for i, v in enumerate(raw.get("steps", ()))
        ),
    )
    _check(scenario)
    return scenario


def _step(where: str, raw: Mapping[str, Any], actions: Vocabulary, expectations: Vocabulary) -> Step:
    for key in raw:
        if key not in ("title", "do", "expect", "seconds"):
            raise ScenarioError(f"{where}: {key} is not a key; here are allowed: title, do, expect, seconds")
    return Step(
        title=raw.get("title", where),
        do=tuple(build_tagged("action", actions, item, f"{where}.do") for item in raw.get("do", ())),
        expect=tuple(build_tagged("that", expectations, item, f"{where}.expect") for item in raw.get("expect", ())),
        seconds=raw.get("seconds", 60),
    )


def _check(scenario: Scenario) -> None:
    if scenario.mode not in MODES:
        raise ScenarioError(f"{scenario.name}: mode = {scenario.mode!r}; expected one of {', '.join(MODES)}")
    if scenario.authority not in AUTHORITIES:
        raise ScenarioError(
            f"{scenario.name}: authority = {scenario.authority!r}; expected one of {', '.join(AUTHORITIES)}"
        )
    if scenario.setup and scenario.second:
        raise ScenarioError(f"{scenario.name}: setup = true; expected no table [second]: setup makes one tunnel")
    if not any(node.role == "hub" for node in scenario.nodes.values()):
        raise ScenarioError(f"{scenario.name}: nodes: none has role = 'hub'; a scenario needs one")
    if scenario.second and scenario.second.hub not in {hub.name for hub in scenario.hubs}:
        raise ScenarioError(f"{scenario.name}: second: hub = {scenario.second.hub!r}; expected the name of a hub")
    for node in scenario.nodes.values():
        where = f"{scenario.name}: nodes.{node.name}"
        if node.role not in ROLES:
            raise ScenarioError(f"{where}: role = {node.role!r}; expected one of {', '.join(ROLES)}")
        if node.role == "hub" and node.prefixes:
            raise ScenarioError(f"{where}: prefixes: a hub's certificate has none")
        if node.second and (scenario.second is None or node.role == "hub"):
            raise ScenarioError(f"{where}: second = true; expected only of spokes, and only with a table [second]")
        if node.backup is not None and (node.backup not in scenario.routers or node.backup_address is None):
            raise ScenarioError(f"{where}: backup = {node.backup!r}; expected a router, and a backup_address in it")
        if node.behind is not None and node.behind not in scenario.routers:
            raise ScenarioError(f"{where}: behind = {node.behind!r}; expected one of {', '.join(scenario.routers)}")
        network = scenario.routers[node.behind].inside.network if node.behind else scenario.networks.internet
        if node.nbma_address not in network:
            raise ScenarioError(f"{where}: nbma_address = {node.nbma_address} lies not in {network}")
