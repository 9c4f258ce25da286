"""Writes into the history what the agent decides, and what it changed in bgpd, nftables and charon.

The ports to bgpd, nftables and charon are wrapped: an entry is written after the change was made.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from dmvpn_agent.addresses import Address
from dmvpn_agent.admission.decision_record import DecisionRecord
from dmvpn_agent.bgp.bgpd import Bgpd, Snapshot
from dmvpn_agent.bgp.change_text import describe
from dmvpn_agent.bgp.neighbors import OWNER
from dmvpn_agent.bgp.plan import Change, subject
from dmvpn_agent.charon.reconnect import ViciReconnector
from dmvpn_agent.charon.sa import IkeSa
from dmvpn_agent.charon.watch import CharonWatch
from dmvpn_agent.enforcement.hub_names import HubNames
from dmvpn_agent.enforcement.hub_state import Hub
from dmvpn_agent.kernel.nftables.program import Nftables
from dmvpn_agent.kernel.nftables.section import Section
from dmvpn_agent.policy.decision import Accept
from dmvpn_agent.view.drafts import request_identity
from dmvpn_agent.view.history import EntryKind, History
from dmvpn_agent.view.peer import JoinedPeer
from dmvpn_agent.view.stage import Stage
from dmvpn_agent.x509.certificate import Certificate

#: Changes to one neighbor that an entry names; more are counted.
MAX_NAMED = 8


class HistoryWriter:
    """Names the peer of what happens, and writes it down. ``name_at`` returns the name of the peer at an address."""

    def __init__(self, history: History, name_at: Callable[[str], str]) -> None:
        self._history = history
        self._name_at = name_at

    def decided(self, decided: DecisionRecord) -> None:
        """Write a decision on a request of nhrpd."""
        request, decision = decided.request, decided.decision
        accepted = isinstance(decision, Accept)
        if request is None:
            self._history.add(EntryKind.DECISION, "deny", text=str(decision))
            return
        addresses = (str(request.protocol_address), str(request.nbma_address))
        certificate = request.certificate
        label = certificate.label if isinstance(certificate, Certificate) else None
        if isinstance(decision, Accept):
            text = f"{request.protocol_address} at {request.nbma_address}"
        else:
            text = f"{request.protocol_address} at {request.nbma_address}: {decision}"
        name = str(label or "") or request_identity(request).removeprefix("ike:")[:64]
        self._history.add(
            EntryKind.DECISION, "accept" if accepted else "deny", peer=name, text=text, addresses=addresses
        )

    def moved(self, peer: JoinedPeer, before: Stage | None) -> None:
        """Write that a peer came to another stage."""
        was = f"was {before}; " if before else ""
        self._history.add(
            EntryKind.STAGE, str(peer.stage), peer=peer.name, text=f"{was}{peer.why or 'up'}", addresses=_words(peer)
        )

    def changed(self, kind: EntryKind, what: str, text: str, address: str = "") -> None:
        """Write a change to a daemon or the kernel; ``address``: of the peer that it is about."""
        name = self._name_at(address) if address else ""
        self._history.add(kind, what, peer=name, text=text, addresses=(address,) if address else ())


def _words(peer: JoinedPeer) -> tuple[str, ...]:
    return tuple(str(address) for address in (*peer.protocol_addresses[:4], peer.nbma_address) if address)


class RecordedBgpd:
    """A bgpd whose changes are written into the history."""

    def __init__(self, bgpd: Bgpd, writer: HistoryWriter) -> None:
        self._bgpd = bgpd
        self._writer = writer

    async def observe(self) -> Snapshot:
        """Read the configuration and the sessions. Raises ``FrrUnavailable``."""
        return await self._bgpd.observe()

    async def apply(self, changes: Sequence[Change]) -> None:
        """Write changes in order, up to the first refused one. Raises ``FrrRefused``, ``FrrUnavailable``."""
        await self._bgpd.apply(changes)
        by_peer: defaultdict[str, list[str]] = defaultdict(list)
        for change in changes:
            by_peer[_address_of(subject(change))].append(describe(change))
        for address, made in by_peer.items():
            more = f"; {len(made) - MAX_NAMED} more" if len(made) > MAX_NAMED else ""
            self._writer.changed(EntryKind.FRR, "bgpd", "; ".join(made[:MAX_NAMED]) + more, address)


def _address_of(name: str) -> str:
    """Return the address in the name of a neighbor or of one of the agent's prefix-lists."""
    return name.removeprefix(f"{OWNER}-").removesuffix("-in6").removesuffix("-in")


class RecordedNftables(Nftables):
    """nftables whose changes are written into the history."""

    def __init__(self, writer: HistoryWriter) -> None:
        super().__init__()
        self._writer = writer

    async def install(self, sections: tuple[Section, ...]) -> None:
        """Replace the agent's table; blocked endpoints stay blocked. Raises ``FirewallError``."""
        await super().install(sections)
        self._writer.changed(
            EntryKind.KERNEL, "nftables", f"the agent's table was installed: {len(sections)} sections"
        )

    async def change(self, script: str) -> None:
        """Apply commands in one transaction. Raises ``FirewallError``."""
        await super().change(script)
        lines = script.splitlines()
        whole = any(line.startswith("flush table") for line in lines[:MAX_NAMED])
        text = "the rules of the agent's table were written again" if whole else "; ".join(lines[:MAX_NAMED])[:500]
        self._writer.changed(EntryKind.KERNEL, "nftables", text)

    async def remove(self) -> None:
        """Remove the agent's table. Raises ``FirewallError``."""
        await super().remove()
        self._writer.changed(EntryKind.KERNEL, "nftables", "the agent's table was removed")


class RecordedCharon(CharonWatch):
    """charon's watch, which writes down the IKE_SAs that the agent ends."""

    def __init__(self, writer: HistoryWriter, *parts: Any, **options: Any) -> None:
        super().__init__(*parts, **options)
        self._writer = writer

    async def end(self, sa: IkeSa) -> None:
        """Delete an IKE_SA. Raises ``CharonLost``, ``CommandFailed``."""
        await super().end(sa)
        text = f"IKE_SA {sa.unique_id} with {sa.remote_id} was ended"
        self._writer.changed(EntryKind.CHARON, "terminate", text, str(sa.remote_host))

    async def load_crls(self, crls: tuple[bytes, ...]) -> None:
        """Load these CRLs (DER) into charon, now and after each connect; charon keeps the newest of each issuer."""
        await super().load_crls(crls)
        if crls and self.connected:
            self._writer.changed(EntryKind.CHARON, "load-cert", f"{len(crls)} CRLs were sent to charon")


class RecordedReconnector(ViciReconnector):
    """A reconnector that writes down the IKE_SAs that the agent asks for."""

    def __init__(self, writer: HistoryWriter, *parts: Any) -> None:
        super().__init__(*parts)
        self._writer = writer

    async def initiate(self, interface: str, local: Address, remote: Address) -> None:
        """Request an IKE_SA. Raises ``CharonLost``, ``CommandFailed``."""
        await super().initiate(interface, local, remote)
        self._writer.changed(EntryKind.CHARON, "initiate", f"an IKE_SA was requested on {interface}", str(remote))


class RecordedHubNames(HubNames):
    """The hubs' names: that nhrpd was made to resolve one again is written into the history."""

    def __init__(self, writer: HistoryWriter, *parts: Any, **options: Any) -> None:
        super().__init__(*parts, **options)
        self._history = writer

    async def check(self, hub: Hub) -> bool:
        """Have nhrpd resolve a hub's name again if it has moved; return whether that was done."""
        done = await super().check(hub)
        if done:
            self._history.changed(EntryKind.FRR, "nhrpd", f"the hub {hub.name} on {hub.interface} is resolved again")
        return done
