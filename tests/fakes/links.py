"""The kernel's interfaces in memory: what it refuses, and what follows from a change."""

from collections.abc import Iterable
from dataclasses import replace

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
)
from dmvpn_agent.kernel.links.kernel_links import LinkError
from dmvpn_agent.kernel.links.observed import ALIAS, Observed, ObservedLink
from dmvpn_agent.kernel.links.settings import TunnelSettings


class FakeLinks:
    """``links``: the interfaces by name. ``refuses``: the types of changes that fail. ``applied``: what was done."""

    def __init__(self) -> None:
        self.links: dict[str, ObservedLink] = {"lo": ObservedLink(1, ""), "wan": ObservedLink(2, "veth", up=True)}
        self.sysctls: dict[str, int] = {}
        self.refuses: set[type[LinkChange]] = set()
        self.applied: list[LinkChange] = []
        self._index = 100

    async def observe(self, tunnels: Iterable[TunnelSettings]) -> Observed:
        paths = {sysctl.path for tunnel in tunnels for sysctl in tunnel.sysctls()}
        return Observed(dict(self.links), {path: self.sysctls.get(path, 0) for path in paths})

    async def apply(self, change: LinkChange) -> None:
        name = change.interface
        if type(change) in self.refuses:
            raise LinkError(problem.no_permission(name, "Operation not permitted"))
        if not isinstance(change, CreateLink | SetSysctl) and name not in self.links:
            raise LinkError(problem.refused(name, "", "there is no interface"))
        self.applied.append(change)
        match change:
            case CreateLink(gre=gre, settings=settings):
                self._index += 1
                self.links[name] = ObservedLink(
                    self._index, "gre", mtu=settings.mtu or 1476, alias=ALIAS, gre=gre,
                    addresses=frozenset(change.addresses),
                )  # fmt: skip
            case SetGre(gre=gre):
                self.change(name, gre=gre)
            case SetMtu(mtu=mtu):
                self.change(name, mtu=mtu)
            case SetMulticast(on=on):
                self.change(name, multicast=on)
            case SetVrf(vrf=vrf):
                self.change(name, master=self.links[vrf].index if vrf else 0)
            case SetUp(up=up):
                self.change(name, up=up)
            case AddAddress(address=address):
                link = self.links[name]
                self.change(name, addresses=link.addresses | {address}, marked=link.marked | {address})
            case RemoveAddress(address=address):
                link = self.links[name]
                self.change(name, addresses=link.addresses - {address}, marked=link.marked - {address})
            case SetSysctl(sysctl=sysctl):
                self.sysctls[sysctl.path] = sysctl.value
            case RemoveLink():
                del self.links[name]

    def change(self, name: str, **fields: object) -> None:
        """Change an interface as another program does."""
        self.links[name] = replace(self.links[name], **fields)  # type: ignore[arg-type]
