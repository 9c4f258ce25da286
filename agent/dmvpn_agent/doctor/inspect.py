"""Reads the state of a node for ``dmvpn-agent doctor``, in limited time. An unreadable part is ``Unknown``."""

import asyncio
import platform
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from ipaddress import IPv4Address
from pathlib import Path
from typing import TypeVar

from dmvpn_agent import __version__
from dmvpn_agent.addresses import Network
from dmvpn_agent.admission.bindings import NhrpdUnavailable
from dmvpn_agent.admission.frr_nhrpd import FrrNhrpd
from dmvpn_agent.bgp.frr_bgpd import FrrBgpd
from dmvpn_agent.bgp.neighbors import Desired, owns_neighbor
from dmvpn_agent.bgp.problem import BgpProblem
from dmvpn_agent.bgp.problems import bgp_problems
from dmvpn_agent.bridge.authority_files import AuthorityFiles
from dmvpn_agent.config.settings import Config
from dmvpn_agent.crls.distribution_points import distribution_points
from dmvpn_agent.crls.settings import CrlSettings
from dmvpn_agent.doctor.inspect_charon import read_charon, swanctl_confined
from dmvpn_agent.doctor.inspect_clock import read_clock
from dmvpn_agent.doctor.inspect_firewalls import read_firewalls
from dmvpn_agent.doctor.inspect_nftables import guard_refusal, read_table, section_refusals, titled_sections
from dmvpn_agent.doctor.inspect_ports import read_ports
from dmvpn_agent.doctor.inspect_routes import read_nbma_routes, read_rp_filters
from dmvpn_agent.doctor.mtu_checks import ASSUMED
from dmvpn_agent.doctor.neighbours import neighbour_differences
from dmvpn_agent.doctor.node import (
    NHRPD_VICI,
    CharonView,
    Expected,
    LinkView,
    NhrpdView,
    NodeView,
    SocketView,
    TrapPolicy,
    Unknown,
)
from dmvpn_agent.doctor.node_text import parse_links, parse_nhrpd, parse_route, parse_traps
from dmvpn_agent.doctor.path_probe import Target, probe
from dmvpn_agent.doctor.sockets import User, acting_as, check_socket, user_behind, user_named
from dmvpn_agent.doctor.unfinished import mutual_hubs, read_placeholders, unresolved_hubs
from dmvpn_agent.frr.terminals import Terminals
from dmvpn_agent.kernel.iptables.chain import desired_chains
from dmvpn_agent.kernel.iptables.program import Iptables
from dmvpn_agent.kernel.links.mtu import negotiated
from dmvpn_agent.kernel.links.read_preview import read_preview
from dmvpn_agent.kernel.links.settings import DEFAULT_VRF
from dmvpn_agent.kernel.nftables.source_filter import FilterMode
from dmvpn_agent.renewal.state import read_state
from dmvpn_agent.runtime.http_client import HttpFailed, HttpQuestion, Limits, ask
from dmvpn_agent.runtime.program import run
from dmvpn_agent.runtime.url import Url
from dmvpn_agent.x509.certificate import Role
from dmvpn_agent.x509.crl import MAX_CRL_BYTES, CrlError, read_crls
from dmvpn_agent.x509.trust import Trust
from dmvpn_agent.x509.trust_files import read_trust

TIMEOUT = 10.0
MAX_OUTPUT = 4 << 20
#: User and primary group of the services in deploy/.
SERVICE_USER, SERVICE_GROUP = "dmvpn-agent", "frrvty"

V = TypeVar("V")


def expected(config: Config) -> Expected:
    """Return what a configuration expects of its node."""
    return Expected(
        tunnels=config.tunnels,
        event_socket=str(config.event_socket),
        vici_socket=str(config.ike.vici_socket.resolve()),
        bridge_socket=str(config.bridge.listen.resolve()),
        nflog_group=config.redirect.nflog_group if config.redirect else None,
        multicast_group=config.multicast.nflog_group if config.multicast else None,
        ca_certificates=tuple(str(path) for path in config.trust_files.authorities),
        announced=_announced(config),
        ip_versions=config.policy.ip_versions,
        bgp_ipv6=config.bgp.ipv6 if config.bgp else None,
        sections={title: section.objects for title, section in titled_sections(config.table).items()},
        chains=desired_chains(config.chain),
        vrfs={name: link.vrf for name, link in config.links.items() if link.vrf and link.vrf != DEFAULT_VRF},
        guard=config.guard.mode if config.guard else FilterMode.OFF,
        serves_keys=any(not row.overrides for row in config.policy.static_peers),
    )


def _announced(config: Config) -> tuple[Network, ...]:
    if config.role is not Role.HUB or config.bgp is None:
        return ()
    return tunnel_networks(config)


def tunnel_networks(config: Config) -> tuple[Network, ...]:
    """Return the tunnel networks of all interfaces."""
    rules = (rules for kinds in config.policy.rules.values() for rules in kinds.values())
    return tuple(dict.fromkeys(network for one in rules for network in one.tunnel_networks))


async def inspect(config: Config, nhrpd_vici: Path = Path(NHRPD_VICI)) -> NodeView:
    """Read everything. Never raises."""
    agent = user_behind(config.control_socket) or user_named(SERVICE_USER, SERVICE_GROUP)
    with acting_as(agent):
        trust, trust_problems = read_trust(config.trust_files)
    nhrpd, links = await _read(lambda: _nhrpd(config)), await _read(_links)
    authorities = AuthorityFiles(config.trust_files.authorities)
    charon = await _read(lambda: read_charon(config.ike.vici_socket, TIMEOUT, authorities.issued))
    return NodeView(
        now=datetime.now(UTC),
        versions=_versions(nhrpd),
        charon=charon,
        traps=await _read(_traps),
        nhrpd=nhrpd,
        sockets=_sockets(config, nhrpd_vici, agent),
        links=links,
        forwards=await _read(lambda: _forwards("ipv4/ip_forward")),
        forwards_ipv6=await _read(lambda: _forwards("ipv6/conf/all/forwarding")),
        routes=await _read(lambda: _routes(expected(config).announced)),
        swanctl_confined=await _read(lambda: swanctl_confined(config.ike.vici_socket)),
        authorities=tuple(authority.subject for authority in trust.authorities),
        trust_problems=trust_problems,
        table=await _read(read_table),
        bgp=await _read(lambda: read_bgp(config)) if config.bgp else None,
        ports=await read_ports(config),
        iptables=await _read(lambda: Iptables().state(desired_chains(config.chain))),
        tunnels=await read_preview(config.links),
        crl_fetches=await _crl_fetches(config.crl, trust, charon),
        neighbours=await _read(lambda: neighbour_differences(config.interfaces)),
        refusals=await _read(lambda: section_refusals(config.table)),
        guard_refusal=await _read(lambda: guard_refusal(config.guard)),
        renewal=read_state(config.renewal.state) if config.renewal.server else None,
        unresolved_hubs=await _read(lambda: unresolved_hubs(Terminals(config.frr).reader)),
        mutual_hubs=(
            await _read(lambda: mutual_hubs(Terminals(config.frr).reader)) if config.role is Role.HUB else ()
        ),
        placeholders=await _read(read_placeholders),
        nbma_routes=await _read(lambda: read_nbma_routes(config.uplink, links)),
        clock=await _read(lambda: read_clock(config.state_directory, trust)),
        firewalls=await _read(lambda: read_firewalls(config, links)),
        rp_filters=await _read(lambda: read_rp_filters(config.tunnels)),
    )


async def _crl_fetches(crl: CrlSettings, trust: Trust, charon: CharonView | Unknown) -> dict[str, str]:
    named = distribution_points(trust.authorities) if crl.fetches else ()
    own = () if isinstance(charon, Unknown) or not crl.fetches else charon.certificates
    urls = dict.fromkeys((*crl.mirrors, *named, *(url for one in own for url in one.crl_urls)))
    found = await asyncio.gather(*map(_crl_fetch, urls))
    return {str(url): why for url, why in zip(urls, found, strict=True)}


async def _crl_fetch(url: Url) -> str:
    try:
        answer = await ask(HttpQuestion(url), Limits(TIMEOUT, MAX_CRL_BYTES))
        if answer.status != 200:
            return f"it answered {answer.text}"
        await asyncio.to_thread(read_crls, answer.body)
    except (HttpFailed, CrlError) as error:
        return str(error)
    return ""


async def with_probes(node: NodeView, config: Config) -> NodeView:
    """Return the same node with the paths to its peers probed. Raises ``OSError`` without permission to send ICMP."""
    if isinstance(node.links, Unknown):
        return node
    sas = {} if isinstance(node.charon, Unknown) else {sa.peer: sa for sa in node.charon.sas}
    targets = []
    with suppress(NhrpdUnavailable):
        for binding in await FrrNhrpd(Terminals(config.frr).reader, config.interfaces).bindings(4, lambda _: None):
            link, sa = node.links.get(binding.interface), sas.get(str(binding.nbma_address))
            peer, nbma = binding.protocol_address, binding.nbma_address
            if link and isinstance(peer, IPv4Address) and isinstance(nbma, IPv4Address):
                sizes = (sa and negotiated(sa.encryption, sa.integrity)) or ASSUMED
                udp, key = bool(sa and sa.udp_encapsulated), link.key is not None
                device = link.device or ""
                targets.append(Target(binding.interface, link.mtu, peer, nbma, sizes, udp, key, device))
    return replace(node, probes=await probe(targets))


def _sockets(config: Config, nhrpd_vici: Path, agent: User | None) -> dict[str, SocketView]:
    vty = config.frr.vty_directory
    nhrpd = user_behind(vty / "nhrpd.vty")
    sockets = {
        "nhrpd's charon": check_socket(nhrpd_vici, "nhrpd", nhrpd),
        "charon": check_socket(config.ike.vici_socket, "dmvpn-agent", agent, not_for=SERVICE_GROUP),
        "nhrpd's events": check_socket(config.event_socket, "nhrpd", nhrpd),
        "control": check_socket(config.control_socket),
    }
    for daemon in ("nhrpd", "bgpd") if config.bgp else ("nhrpd",):
        if (view := check_socket(vty / f"{daemon}.vty", "dmvpn-agent", agent)).there:
            sockets[f"{daemon}'s terminal"] = view
    return sockets


def _versions(nhrpd: NhrpdView | Unknown) -> dict[str, str]:
    packages = {name: _package(name) for name in ("cryptography", "h11", "pyroute2", "structlog", "vici")}
    versions = {"dmvpn-agent": __version__, "the kernel": platform.release(), "Python": platform.python_version()}
    versions["Python packages"] = ", ".join(f"{name} {number}" for name, number in packages.items())
    if not isinstance(nhrpd, Unknown):
        versions["FRR"] = nhrpd.version
    return versions


def _package(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "of unknown version"


async def _read(part: Callable[[], Awaitable[V]]) -> V | Unknown:
    try:
        async with asyncio.timeout(TIMEOUT):
            return await part()
    except TimeoutError:
        return Unknown(f"no answer within {TIMEOUT:g} s")
    except Exception as error:
        words = str(error) or type(error).__name__
        if isinstance(error, OSError) and error.strerror:  # without the number
            words = f"{error.strerror}: {error.filename}" if error.filename else error.strerror
        denied = isinstance(error, PermissionError) or "not permitted" in words or "ermission denied" in words
        return Unknown(words, permission=denied)


async def _print(*argv: str) -> str:
    done = await run(argv, timeout=TIMEOUT, max_output=MAX_OUTPUT)
    if done.status != 0:
        raise ValueError(f"{' '.join(argv)}: {done.message}")
    return done.stdout


async def _traps() -> tuple[TrapPolicy, ...]:
    return tuple(parse_traps(await _print("ip", "xfrm", "policy")))


async def _links() -> dict[str, LinkView]:
    return parse_links(await _print("ip", "-json", "-details", "address"))


async def _nhrpd(config: Config) -> NhrpdView:
    return parse_nhrpd((await Terminals(config.frr).reader.run("nhrpd", ("show running-config",))).text)


async def read_bgp(config: Config) -> tuple[BgpProblem, ...]:
    """Return the problems in FRR for the neighbors that the agent wrote and for those that it may write.

    Raises ``FrrUnavailable``.
    """
    assert config.bgp is not None  # noqa: S101  the caller has checked
    terminals = Terminals(config.frr)
    seen = await FrrBgpd(terminals.reader, terminals.writer, config.bgp.instance).observe()
    ours = {address: one for address, one in seen.config.neighbors.items() if owns_neighbor(one)}
    return bgp_problems(
        seen.config,
        config.bgp,
        Desired(ours),
        established=[address for address, session in seen.sessions.items() if session.state == "Established"],
        tunnels=tunnel_networks(config),
    )


async def _forwards(setting: str) -> bool:
    return Path("/proc/sys/net", setting).read_text().strip() == "1"


async def _routes(networks: Sequence[Network]) -> dict[Network, str]:
    routes = {}
    for network in networks:
        words = ("ip", "-json", f"-{network.version}", "route", "show", "exact", str(network))
        if found := parse_route(await _print(*words)):
            routes[network] = found
    return routes
