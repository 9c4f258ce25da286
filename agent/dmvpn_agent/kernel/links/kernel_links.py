"""The kernel's interfaces and settings, read and changed by netlink and /proc/sys."""

import asyncio
import errno
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from dmvpn_agent.kernel.events import IFF_MULTICAST
from dmvpn_agent.kernel.gre import GRE_KEY
from dmvpn_agent.kernel.links import problem
from dmvpn_agent.kernel.links.changes import (
    AddAddress,
    CreateLink,
    LinkChange,
    RemoveAddress,
    RemoveLink,
    SetGre,
    SetMtu,
    SetMulticast,
    SetSysctl,
    SetUp,
    SetVrf,
    commands,
)
from dmvpn_agent.kernel.links.observed import ADDRESS_MARK, ALIAS, Gre, Observed, read_links
from dmvpn_agent.kernel.links.problem import LinkProblem
from dmvpn_agent.kernel.links.settings import TunnelSettings
from dmvpn_agent.kernel.pyroute import load_pyroute2

TIMEOUT = 10.0
PROC = Path("/proc/sys/net")
#: linux/if_link.h: IPv6 makes no link-local address, which nhrpd up to FRR 10.3 would choose.
_ADDR_GEN_MODE_NONE = 1
_NO_GRE = {errno.EOPNOTSUPP, errno.ENOENT, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT}


class LinkError(Exception):
    """The kernel refused a change, or cannot be read; ``problem`` has the reason and the remedy."""

    def __init__(self, problem: LinkProblem) -> None:
        super().__init__(str(problem))
        self.problem = problem


class KernelLinks:
    """The interfaces of this network namespace."""

    async def observe(self, tunnels: Iterable[TunnelSettings]) -> Observed:
        """Return all interfaces, and the kernel settings of the tunnels. Raises ``LinkError``."""
        wanted = tuple(tunnels)
        try:
            async with _netlink() as netlink:
                links = [link async for link in await netlink.link("dump")]
                addresses = [address async for address in await netlink.addr("dump")]
            found = read_links(links, addresses)
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise LinkError(problem.unreadable("netlink", _why(error))) from error
        except Exception as error:  # pyroute2's errors are no OSError
            if not _is_netlink_error(error):
                raise
            raise LinkError(problem.unreadable("netlink", _why(error))) from error
        return Observed(found, _read_sysctls(wanted))

    async def apply(self, change: LinkChange) -> None:
        """Make one change. Raises ``LinkError``."""
        if isinstance(change, SetSysctl):
            _write_sysctl(change)
            return
        try:
            async with _netlink() as netlink:
                await _apply(netlink, change)
        except Exception as error:
            if not (_is_netlink_error(error) or isinstance(error, OSError | LookupError)):
                raise
            raise LinkError(_problem(change, error)) from error


@asynccontextmanager
async def _netlink() -> AsyncIterator[Any]:
    pyroute2 = await load_pyroute2()
    async with asyncio.timeout(TIMEOUT), pyroute2.AsyncIPRoute() as netlink:
        yield netlink


async def _apply(netlink: Any, change: LinkChange) -> None:
    name = change.interface
    match change:
        case CreateLink():
            await _create(netlink, change)
        case SetGre(gre=gre):
            index = await _index(netlink, name)
            await netlink.link("set", index=index, kind="gre", **_attributes(gre))
        case SetMtu(mtu=mtu):
            await netlink.link("set", index=await _index(netlink, name), mtu=mtu)
        case SetMulticast(on=on):
            flags = IFF_MULTICAST if on else 0
            await netlink.link("set", index=await _index(netlink, name), flags=flags, change=IFF_MULTICAST)
        case SetVrf(vrf=vrf):
            master = await _index(netlink, vrf) if vrf else 0
            await netlink.link("set", index=await _index(netlink, name), master=master)
        case SetUp(up=up):
            await netlink.link("set", index=await _index(netlink, name), state="up" if up else "down")
        case AddAddress(address=address) | RemoveAddress(address=address):
            words = {"index": await _index(netlink, name), "address": str(address.ip)}
            mark = {"proto": ADDRESS_MARK} if isinstance(change, AddAddress) else {}
            verb = "add" if isinstance(change, AddAddress) else "delete"
            await netlink.addr(verb, prefixlen=address.network.prefixlen, **words, **mark)
        case RemoveLink():
            await netlink.link("delete", index=await _index(netlink, name))


async def _create(netlink: Any, change: CreateLink) -> None:
    name, settings = change.interface, change.settings
    if change.instead_of:
        await netlink.link("delete", index=await _index(netlink, name))
    words: Mapping[str, Any] = {"mtu": settings.mtu} if settings.mtu else {}
    await netlink.link("add", ifname=name, kind="gre", **words, **_attributes(change.gre))
    index = await _index(netlink, name)
    # The alias is the mark by which `reset` knows the interface; the kernel takes it only after the interface exists.
    await netlink.link("set", index=index, ifalias=ALIAS)
    if settings.has_ipv6:
        mode = {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", _ADDR_GEN_MODE_NONE)]}
        await netlink.link("set", index=index, IFLA_AF_SPEC={"attrs": [("AF_INET6", mode)]})
    for address in change.addresses:
        await netlink.addr("add", index=index, address=str(address.ip), prefixlen=address.network.prefixlen)


def _attributes(gre: Gre) -> dict[str, Any]:
    """Return all parameters: the kernel sets those that are missing to 0."""
    flags = GRE_KEY if gre.key is not None else 0
    attributes: dict[str, Any] = dict(gre.kept)
    attributes |= {"gre_local": str(gre.local or "0.0.0.0"), "gre_remote": "0.0.0.0"}  # noqa: S104
    attributes |= {"gre_ttl": gre.ttl, "gre_link": gre.device, "gre_iflags": flags, "gre_oflags": flags}
    if gre.key is not None:
        attributes |= {"gre_ikey": gre.key, "gre_okey": gre.key}
    return attributes


async def _index(netlink: Any, name: str) -> int:
    found = await netlink.link_lookup(ifname=name)
    if not found:
        raise LookupError(f"there is no interface {name}")
    return int(found[0])


def _is_netlink_error(error: Exception) -> bool:
    return isinstance(error, import_module("pyroute2.netlink.exceptions").NetlinkError)


def _why(error: Exception) -> str:
    text = str(error.args[1]) if _is_netlink_error(error) and len(error.args) == 2 else str(error)
    return " ".join(text.split())[:200] or type(error).__name__


def _problem(change: LinkChange, error: Exception) -> LinkProblem:
    name, code = change.interface, getattr(error, "code", getattr(error, "errno", None))
    if code in {errno.EPERM, errno.EACCES}:
        return problem.no_permission(name, _why(error))
    if isinstance(change, CreateLink) and code in _NO_GRE:
        return problem.no_gre(name, _why(error))
    return problem.refused(name, next(iter(commands(change))), _why(error))


def _read_sysctls(tunnels: Iterable[TunnelSettings]) -> dict[str, int]:
    found = {}
    for sysctl in (sysctl for tunnel in tunnels for sysctl in tunnel.sysctls()):
        with suppress(OSError, ValueError):  # the interface does not exist yet, or the kernel is too old
            found[sysctl.path] = int((PROC / sysctl.path).read_text())
    return found


def _write_sysctl(change: SetSysctl) -> None:
    try:
        (PROC / change.sysctl.path).write_text(f"{change.sysctl.value}\n")
    except OSError as error:
        why = problem.read_only(change.interface, change.sysctl.name, error.strerror or repr(error))
        raise LinkError(why) from error
