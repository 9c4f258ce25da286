"""From the operator's settings and the kernel's state to the changes, in an order in which each of them works.

The agent changes in place what the kernel can change in place. It makes an interface anew only if it has a remote
address or takes its parameters from routes: then it is no mGRE interface, and the kernel cannot make it one. It
removes no address but its own.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

from dmvpn_agent.kernel.links.changes import (
    DEFAULT_TTL,
    AddAddress,
    CreateLink,
    LinkChange,
    RemoveAddress,
    SetGre,
    SetMtu,
    SetMulticast,
    SetSysctl,
    SetUp,
    SetVrf,
    gre_words,
)
from dmvpn_agent.kernel.links.observed import Gre, Observed, ObservedLink
from dmvpn_agent.kernel.links.problem import (
    LinkProblem,
    missing_device,
    missing_vrf,
    not_gre,
    not_host_prefix,
    not_vrf,
)
from dmvpn_agent.kernel.links.settings import DEFAULT_VRF, TunnelSettings

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class LinkPlan:
    """What differs at one interface, and what prevents that it becomes as configured."""

    changes: tuple[LinkChange, ...] = ()
    problems: tuple[LinkProblem, ...] = ()


def plan(settings: TunnelSettings, observed: Observed) -> LinkPlan:
    """Return the changes that make one interface as configured."""
    name = settings.name
    link = observed.links.get(name)
    if link is not None and link.gre is None:
        return LinkPlan(problems=(not_gre(name, link.kind),))
    device = 0
    if settings.device:
        if settings.device not in observed.links:
            return LinkPlan(problems=(missing_device(name, settings.device),))
        device = observed.links[settings.device].index
    changes: list[LinkChange] = []
    if link is None:
        changes.append(CreateLink(name, _new(settings, device), settings))
        link = _fresh(settings)
    elif not link.gre.multipoint:  # type: ignore[union-attr]
        addresses = tuple(sorted(link.addresses - set(settings.addresses) - link.marked, key=str))
        why = "it has a remote address or takes its parameters from routes"
        changes.append(CreateLink(name, _new(settings, device), settings, why, addresses))
        link = replace(_fresh(settings), addresses=frozenset(addresses))
    else:
        changes += _gre(settings, device, link)
    vrf, problems = _vrf(settings, link, observed)
    changes += vrf
    problems += _prefixes(settings, link)
    changes += _link(settings, link)
    changes += _sysctls(settings, observed, new=bool(changes) and isinstance(changes[0], CreateLink))
    return LinkPlan(tuple(changes), tuple(problems))


def _new(settings: TunnelSettings, device: int) -> Gre:
    ttl = DEFAULT_TTL if settings.ttl is None else settings.ttl
    return Gre(settings.local, settings.key, ttl, device)


def _fresh(settings: TunnelSettings) -> ObservedLink:
    return ObservedLink(0, "gre", mtu=settings.mtu or 0, gre=Gre())


def _gre(settings: TunnelSettings, device: int, link: ObservedLink) -> Iterator[LinkChange]:
    now = link.gre or Gre()
    wanted = replace(
        now,
        local=_or(settings.local, None if settings.device else now.local),
        key=_or(settings.key, now.key),
        ttl=_or(settings.ttl, now.ttl),
        device=device if settings.device else now.device,
    )
    if wanted != now:
        yield SetGre(settings.name, wanted, gre_words(wanted, settings))


def _vrf(
    settings: TunnelSettings, link: ObservedLink, observed: Observed
) -> tuple[list[LinkChange], list[LinkProblem]]:
    if settings.vrf is None:
        return [], []
    name = settings.name
    if settings.vrf == DEFAULT_VRF:
        return [SetVrf(name, "")] if link.master else [], []
    vrf = observed.links.get(settings.vrf)
    if vrf is None:
        return [], [missing_vrf(name, settings.vrf)]
    if vrf.kind != "vrf":
        return [], [not_vrf(name, settings.vrf, vrf.kind)]
    return [SetVrf(name, settings.vrf)] if link.master != vrf.index else [], []


def _prefixes(settings: TunnelSettings, link: ObservedLink) -> Iterator[LinkProblem]:
    wanted = {address.ip for address in settings.addresses}
    for address in sorted(link.addresses, key=str):
        if address.ip in wanted and address.network.prefixlen < address.max_prefixlen:
            yield not_host_prefix(settings.name, address)


def _link(settings: TunnelSettings, link: ObservedLink) -> Iterator[LinkChange]:
    name = settings.name
    if settings.mtu is not None and settings.mtu != link.mtu:
        yield SetMtu(name, settings.mtu)
    if settings.multicast is not None and settings.multicast != link.multicast:
        yield SetMulticast(name, settings.multicast)
    # Without the prefix lengths: a protocol address with another one is there, and is the operator's.
    there = {address.ip for address in link.addresses}
    yield from (AddAddress(name, address) for address in settings.addresses if address.ip not in there)
    if settings.manages:
        going = link.marked - set(settings.addresses)
        yield from (RemoveAddress(name, address) for address in sorted(going, key=str))
    if settings.up is not None and settings.up != link.up:
        yield SetUp(name, settings.up)


def _sysctls(settings: TunnelSettings, observed: Observed, *, new: bool) -> Iterator[LinkChange]:
    for sysctl in settings.sysctls():
        own = f"/{settings.name}/" in sysctl.path
        if (new and own) or observed.sysctls.get(sysctl.path) != sysctl.value:
            yield SetSysctl(settings.name, sysctl)


def _or(wanted: V | None, otherwise: V) -> V:
    return otherwise if wanted is None else wanted
