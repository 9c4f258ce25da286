"""What the rules of other programs drop of what must pass."""

import os
import shutil
from collections.abc import Iterator, Mapping
from ipaddress import ip_interface
from pathlib import Path

from dmvpn_agent.config.settings import Config
from dmvpn_agent.doctor.node import LinkView, Unknown
from dmvpn_agent.kernel.firewalls.flows import (
    NO_FIREWALLS,
    Dropped,
    FirewallView,
    Flow,
    remedy,
    tunnel_flows,
    underlay_flows,
)
from dmvpn_agent.kernel.firewalls.iptables_text import read_iptables
from dmvpn_agent.kernel.firewalls.nft_json import read_nft
from dmvpn_agent.kernel.firewalls.rules import Table
from dmvpn_agent.kernel.firewalls.verdict import find_drop
from dmvpn_agent.kernel.links.settings import DEFAULT_VRF
from dmvpn_agent.kernel.nftables.script import TABLE
from dmvpn_agent.runtime.program import ProgramError, run
from dmvpn_agent.x509.certificate import Role

TIMEOUT, MAX_OUTPUT = 8.0, 32 << 20
#: Networks of containers and virtual machines, which are no site's LAN.
_HOSTED = ("docker", "br-", "virbr", "lxcbr", "lxdbr", "podman", "cni", "veth")
_AWALL = Path("/etc/awall")
_PROGRAMS = {4: "iptables", 6: "ip6tables"}


async def read_firewalls(config: Config, links: Mapping[str, LinkView] | Unknown) -> FirewallView:
    """Read all rules and follow the packets through them. Raises ``ValueError`` and ``PermissionError``."""
    if isinstance(links, Unknown):
        return NO_FIREWALLS
    (tables, unread), wanted = await read_tables(), tuple(flows(config, links))
    awall = _AWALL.is_dir()
    found = [(flow, drop) for flow in wanted if (drop := find_drop(tables, flow.packet))]
    dropped = tuple(Dropped(flow, str(drop), remedy(drop, flow, awall=awall)) for flow, drop in found)
    return FirewallView(tuple(table.name for table in tables), unread, len(wanted), dropped)


async def read_tables() -> tuple[tuple[Table, ...], tuple[str, ...]]:
    """Return the tables of nftables and of both variants of iptables, but the agent's; and what cannot be read.

    Raises ``PermissionError``.
    """
    tables, unread = list[Table](), list[str]()
    hidden = {TABLE}
    for version, program in _PROGRAMS.items():
        for save in _saves(program):
            try:
                found = tuple(read_iptables(await _print(save), version))
            except ValueError as error:
                unread.append(str(error))
                continue
            tables += found
            if "legacy" not in save:  # nft lists these as well
                hidden |= {f"{'ip' if version == 4 else 'ip6'} {table.name.split()[1]}" for table in found}
    if shutil.which("nft"):
        try:
            # -t (terse): without the elements of named sets, which may be very many.
            listed = tuple(read_nft(await _print("nft", "-j", "-t", "list", "ruleset")))
            tables += (table for table in listed if table.name not in hidden)
        except ValueError as error:
            unread.append(str(error))
    return tuple(tables), tuple(unread)


def _saves(program: str) -> Iterator[str]:
    """Yield the programs that print the tables of each variant of iptables."""
    variants = [save for variant in ("nft", "legacy") if shutil.which(save := f"{program}-{variant}-save")]
    yield from variants or [save for save in (f"{program}-save",) if shutil.which(save)]


async def _print(*argv: str) -> str:
    try:
        done = await run(argv, timeout=TIMEOUT, max_output=MAX_OUTPUT)
    except ProgramError as error:
        raise ValueError(f"{' '.join(argv)}: {error}") from error
    if done.status != 0 and os.geteuid() != 0:
        raise PermissionError(f"{' '.join(argv)}: {done.message}")
    if done.status != 0:
        raise ValueError(f"{' '.join(argv)}: {done.message}")
    return done.stdout


def flows(config: Config, links: Mapping[str, LinkView]) -> Iterator[Flow]:
    """Yield what must pass on this node. In a VRF the hooks see other interfaces: such tunnels are left out."""
    hub = config.role is Role.HUB
    tunnels = [name for name in config.tunnels if not _in_vrf(config, name)]
    uplinks = dict.fromkeys(filter(None, (_uplink(links, name) for name in tunnels)))
    if config.uplink:
        uplinks |= dict.fromkeys(one.interface for one in config.uplink.uplinks)
    for uplink in uplinks:
        yield from underlay_flows(uplink, hub=hub)
    lans = [name for name, link in links.items()
            if name not in uplinks and link.kind not in {"gre", "vrf"} and not name.startswith(_HOSTED)
            and name not in config.tunnels and _has_lan(link)]  # fmt: skip
    for name in tunnels:
        for version in sorted(config.policy.ip_versions[name]):
            yield from tunnel_flows(name, lans, version, hub=hub, bgp=config.bgp is not None)


def _in_vrf(config: Config, name: str) -> bool:
    link = config.links.get(name)
    return bool(link and link.vrf and link.vrf != DEFAULT_VRF)


def _uplink(links: Mapping[str, LinkView], tunnel: str) -> str | None:
    """Return the interface that has a tunnel's NBMA address, or that the tunnel is bound to."""
    link = links.get(tunnel)
    if link is None:
        return None
    by_address = (name for name, one in links.items() if any(a.split("/")[0] == link.local for a in one.addresses))
    device = links.get(link.device or "")
    return next(by_address, link.device if device and device.kind != "vrf" else None)


def _has_lan(link: LinkView) -> bool:
    """Tell whether it has a network of more than one host, and is up."""
    networks = (ip_interface(address) for address in link.addresses)
    return link.up and any(not one.is_loopback and one.network.num_addresses > 1 for one in networks)
