"""What an operator may change over the control socket; each is logged, and written into the history."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from dmvpn_agent.charon.session import CharonLost, CommandFailed
from dmvpn_agent.charon.watch import CharonWatch
from dmvpn_agent.control.quarantines import LIMIT, LONGEST_IDENTITY, Quarantines
from dmvpn_agent.runtime.document import Code, RequestError
from dmvpn_agent.view.peer import Expectation, JoinedPeer
from dmvpn_agent.view.peer_watch import PeerWatch


@dataclass(slots=True)
class Actions:
    """``policy_changed`` puts the policy in force again; ``resync`` starts a check of everything.

    ``reload`` reads the configuration again and returns the outcome: ``applied``, ``refused`` or ``failed``.
    """

    charon: CharonWatch
    peer_watch: PeerWatch
    quarantines: Quarantines
    policy_changed: Callable[[], None]
    resync_all: Callable[[], Awaitable[None]]
    reload_config: Callable[[], Awaitable[str]]
    dry_run: bool

    async def kick(self, peer: JoinedPeer) -> dict[str, Any]:
        """End the IKE_SAs of a peer, so that it connects and registers again."""
        self._refuse_dry_run()
        if not self.charon.connected:
            raise RequestError(Code.UNREACHABLE, "charon is away; its IKE_SAs cannot be ended")
        try:
            for sa in peer.ike_sas:
                await self.charon.end(sa)
        except (CharonLost, CommandFailed) as error:
            raise RequestError(Code.UNREACHABLE, f"charon did not end an IKE_SA of {peer.name}: {error}") from error
        self.peer_watch.trigger()
        return {"peer": peer.name, "ended": len(peer.ike_sas)}

    async def quarantine(self, peer: JoinedPeer) -> dict[str, Any]:
        """Take the BGP neighbor from a peer; it stays connected."""
        if not peer.identity or len(peer.identity) > LONGEST_IDENTITY:
            raise RequestError(Code.REFUSED, f"{peer.name} has shown no identity that a rule can match")
        if len(self.quarantines) >= LIMIT:
            raise RequestError(Code.REFUSED, f"{LIMIT} peers are quarantined already; use [[policy.maintenance]]")
        stored = self.quarantines.add(peer.identity, peer.name)
        self.policy_changed()
        return {"peer": peer.name, "identity": peer.identity, "quarantined": True, "stored": stored}

    async def release(self, peer: JoinedPeer) -> dict[str, Any]:
        """End a quarantine."""
        if peer.identity not in self.quarantines:
            by_file = "; [[policy.maintenance]] in the configuration quarantines it" if peer.quarantined else ""
            raise RequestError(Code.REFUSED, f"no command has quarantined {peer.name}{by_file}")
        stored = self.quarantines.remove(peer.identity)
        self.policy_changed()
        return {"peer": peer.name, "identity": peer.identity, "quarantined": False, "stored": stored}

    async def forget(self, peer: JoinedPeer) -> dict[str, Any]:
        """Forget an absent peer that was learned."""
        if peer.expected is Expectation.CONFIGURED:
            raise RequestError(Code.REFUSED, f"{peer.name} is in [[peers.expected]]: remove it there")
        if peer.accepted:
            raise RequestError(Code.REFUSED, f"{peer.name} is here, and would be learned again at once")
        if not self.peer_watch.forget(peer):
            raise RequestError(Code.REFUSED, f"{peer.name} was never accepted: it goes with its last trace")
        return {"peer": peer.name, "forgotten": True}

    async def reload(self) -> dict[str, Any]:
        """Read the configuration again."""
        outcome = await self.reload_config()
        if outcome != "applied":
            raise RequestError(Code.CONFIGURATION, f"the reload was {outcome}: see `dmvpn-agent check` and the log")
        return {"reload": outcome}

    async def resync(self) -> dict[str, Any]:
        """Read charon, nhrpd, bgpd and nftables again, and correct what differs."""
        await self.resync_all()
        return {"resync": "started"}

    def _refuse_dry_run(self) -> None:
        if self.dry_run:
            raise RequestError(Code.REFUSED, "the agent runs with --dry-run, and changes nothing")
