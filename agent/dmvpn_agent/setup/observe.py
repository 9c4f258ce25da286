"""Reads the machine. What cannot be read counts as missing; a refusal of the plan then names it."""

import grp
import json
import os
import platform
import pwd
import sys
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface, ip_interface
from pathlib import Path
from typing import Any

from dmvpn_agent.setup.disk import Disk
from dmvpn_agent.setup.journal import Journal
from dmvpn_agent.setup.machine import Machine, MachineError, found
from dmvpn_agent.setup.observe_charon import find_charon
from dmvpn_agent.setup.observe_firewall import find_firewall
from dmvpn_agent.setup.paths import ALL_PATHS, APPARMOR_PROFILE, CRLS, RENEW_TIMER
from dmvpn_agent.setup.plan import FORWARDING, FRR_NEEDED, TUNNEL_MODULES
from dmvpn_agent.setup.services import Commands
from dmvpn_agent.setup.system import File, Manager, Services, System, TunnelBy, Uplink

TUNNEL = "gre1"
_FRR = ("/usr/lib/frr", "/usr/libexec/frr", "/usr/sbin")
_CHARONS = (
    "/usr/sbin/charon-systemd",
    "/usr/lib/ipsec/charon",
    "/usr/lib/strongswan/charon",
    "/usr/libexec/ipsec/charon",
)
_UNITS = ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
#: The names of charon's and FRR's services, the likeliest first.
_CHARON_SERVICES = {Manager.SYSTEMD: ("strongswan", "strongswan-starter"), Manager.OPENRC: ("charon", "strongswan")}
#: What must be writable.
_PLACES = ("/etc", "/var/lib")
_NEEDED_BYTES, _NEEDED_FILES = 1 << 20, 100
#: Of depmod's lists, which have 1 MB for a distribution's kernel.
_LONGEST_LIST = 16 << 20
_OWN_SERVICES = ("dmvpn-agent", "dmvpn-bridge")
_OWN_TIMERS = {Manager.SYSTEMD: (RENEW_TIMER,), Manager.OPENRC: ()}


async def observe(disk: Disk, journal: Journal, machine: Machine) -> System:
    """Return the machine as it is."""
    manager = manager_here()
    links, addresses, uplinks = await _network(machine)
    program = _program()
    files, unreadable = _files(disk)
    users, groups, memberships = _accounts()
    services = await _services(machine, manager)
    has_vici, patched = await find_charon()
    return System(
        root=os.geteuid() == 0,
        uplinks=uplinks,
        addresses=addresses,
        frr_daemons=frozenset(name for name in FRR_NEEDED for folder in _FRR if Path(folder, name).exists()),
        has_nft=Path(found("nft")).is_absolute(),
        has_swanctl=Path(found("swanctl")).is_absolute(),
        has_vici=has_vici,
        patched=patched,
        frr_running=await _frr_running(machine),
        services=services,
        network=_interfaces_by(),
        firewall=await find_firewall(machine),
        has_apparmor=Path(APPARMOR_PROFILE).exists(),
        users=users,
        groups=groups,
        memberships=memberships,
        links=links,
        directories=_directories(disk),
        files=files,
        unwritable={**unreadable, **dict(_unwritable(disk))},
        sysctls={path: value for path in FORWARDING if (value := machine.sysctl(path)) is not None},
        program=program,
        program_reachable=_is_reachable(Path(program)),
        has_packaged_units=_has_packaged_units(manager, program),
        kernel=platform.release(),
        lacks_modules=tuple(_lacking(Path("/lib/modules", platform.release()))),
        digests=journal.digests,
        unfinished=journal.unfinished,
    )


def manager_here() -> Manager:
    """Return the service manager that runs."""
    if Path("/run/systemd/system").is_dir():
        return Manager.SYSTEMD
    return Manager.OPENRC if Path("/run/openrc/softlevel").exists() else Manager.NONE


def _lacking(modules: Path) -> Iterator[str]:
    """Yield the modules that are neither loaded nor among those that modprobe knows, built into the kernel or not."""
    known = b""
    for listed in ("modules.builtin", "modules.dep"):
        with suppress(OSError), (modules / listed).open("rb") as file:
            known += file.read(_LONGEST_LIST)
    for name in TUNNEL_MODULES:
        if not Path("/sys/module", name).exists() and f"/{name}.ko".encode() not in known:
            yield name


def _interfaces_by() -> TunnelBy:
    if Path(found("ifup")).is_absolute() and Path("/etc/network").is_dir():
        return TunnelBy.IFUPDOWN
    running = Path("/run/systemd/netif/state").exists()
    return TunnelBy.NETWORKD if running and Path(found("networkctl")).is_absolute() else TunnelBy.AGENT


def _program() -> str:
    """Return the path by which services start this program."""
    beside = Path(sys.executable).with_name("dmvpn-agent")
    return str(beside) if beside.exists() else found("dmvpn-agent")


def _is_reachable(program: Path) -> bool:
    """Tell whether every user can enter the folders above a program."""
    with suppress(OSError):
        real = (program, program.resolve(), Path(sys.prefix))
        return all(parent.stat().st_mode & 0o001 for one in real for parent in one.parents)
    return False


def _has_packaged_units(manager: Manager, program: str) -> bool:
    if manager is Manager.SYSTEMD:
        return any(Path(folder, "dmvpn-agent.service").exists() for folder in _UNITS[1:])
    return program == "/usr/bin/dmvpn-agent" and Path("/etc/init.d/dmvpn-agent").exists()


async def _services(machine: Machine, manager: Manager) -> Services:
    if manager is Manager.NONE:
        return Services()
    commands = Commands(manager)
    charon = next((name for name in _CHARON_SERVICES[manager] if _is_known(manager, name)), "")
    active, enabled = set(), set()
    for service in filter(None, (charon, "frr", *_OWN_SERVICES, *_OWN_TIMERS[manager])):
        with suppress(MachineError):
            if (await machine.run(commands.is_active(service))).status == 0:
                active.add(service)
            if (await machine.run(commands.is_enabled(service))).status == 0:
                enabled.add(service)
    frr = "frr" if _is_known(manager, "frr") else ""
    return Services(manager, charon, frr, frozenset(active), frozenset(enabled))


def _is_known(manager: Manager, service: str) -> bool:
    if manager is Manager.OPENRC:
        return Path("/etc/init.d", service).exists()
    return any(Path(folder, f"{service}.service").exists() for folder in _UNITS)


async def _frr_running(machine: Machine) -> str | None:
    """Return FRR's running configuration, ``None`` if not all daemons that a node needs run."""
    with suppress(MachineError):
        done = await machine.run(("vtysh", "-c", "show daemons"))
        if done.status or not set(FRR_NEEDED) <= set(done.stdout.split()):
            return None
        return await machine.must(("vtysh", "-c", "show running-config"))
    return None


async def _network(
    machine: Machine,
) -> tuple[frozenset[str], tuple[tuple[str, IPv4Interface | IPv6Interface], ...], tuple[Uplink, ...]]:
    links = await _ip(machine, "address", "show")
    routes = await _ip(machine, "route", "show", "default")
    addresses = tuple(
        (link["ifname"], ip_interface(f"{one['local']}/{one['prefixlen']}"))
        for link in links
        if link["ifname"] not in {TUNNEL, "lo"}
        for one in link.get("addr_info", ())
        if one.get("scope") == "global" and "local" in one
    )
    of_ipv4 = {name: one.ip for name, one in reversed(addresses) if isinstance(one.ip, IPv4Address)}
    uplinks = [
        Uplink(
            route["dev"],
            IPv4Address(route["prefsrc"]) if "prefsrc" in route else of_ipv4.get(route["dev"]),
            route.get("metric", 0),
        )
        for route in routes
        if route.get("dev") not in {None, TUNNEL}
    ]
    names = frozenset(link["ifname"] for link in links)
    return names, addresses, tuple(sorted(uplinks, key=lambda one: one.metric))


async def _ip(machine: Machine, *words: str) -> list[dict[str, Any]]:
    with suppress(MachineError, ValueError):
        found_ones = json.loads(await machine.must(("ip", "-json", *words)) or "[]")
        return [one for one in found_ones if isinstance(one, dict) and ("ifname" in one or "dst" in one)]
    return []


def _accounts() -> tuple[frozenset[str], frozenset[str], frozenset[tuple[str, str]]]:
    users, groups = pwd.getpwall(), grp.getgrall()
    names = {group.gr_gid: group.gr_name for group in groups}
    memberships = {(member, group.gr_name) for group in groups for member in group.gr_mem}
    memberships |= {(user.pw_name, names[user.pw_gid]) for user in users if user.pw_gid in names}
    return frozenset(user.pw_name for user in users), frozenset(names.values()), frozenset(memberships)


def _files(disk: Disk) -> tuple[dict[str, File], dict[str, str]]:
    files, unreadable = {}, {}
    for path in ALL_PATHS:
        try:
            if file := disk.read(path):
                files[path] = file
        except OSError as error:
            unreadable[path] = error.strerror or str(error)
    return files, unreadable


def _directories(disk: Disk) -> dict[str, int]:
    parents = {str(parent) for path in (*ALL_PATHS, f"{CRLS}/x") for parent in Path(path).parents}
    return {path: mode for path in parents if (mode := disk.directory_mode(path)) is not None}


def _unwritable(disk: Disk) -> Iterator[tuple[str, str]]:
    """Yield the folders that cannot be written, without writing into them."""
    for folder in _PLACES:
        place = disk.path(folder)
        try:
            room = os.statvfs(place)
        except OSError as error:
            yield folder, error.strerror or str(error)
            continue
        if room.f_flag & os.ST_RDONLY:
            yield folder, "its file system is read-only"
        elif room.f_bavail * room.f_frsize < _NEEDED_BYTES or (room.f_files and room.f_favail < _NEEDED_FILES):
            yield folder, "its disk is full"
