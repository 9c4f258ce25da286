"""Answers the requests of the control socket: anybody who may open it may look; only root may change something."""

import asyncio
import os
import pwd
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog

from dmvpn_agent.charon.watch import CharonWatch
from dmvpn_agent.control import metrics
from dmvpn_agent.control.actions import Actions
from dmvpn_agent.runtime.clocks import Clock
from dmvpn_agent.runtime.control_socket import Request
from dmvpn_agent.runtime.document import Code, Document, RequestError, document
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.view.health import faults, peer_counts
from dmvpn_agent.view.history import EntryKind, Filter, History
from dmvpn_agent.view.peer import JoinedPeer
from dmvpn_agent.view.peer_json import peer_details, peer_summary
from dmvpn_agent.view.peer_watch import PeerWatch
from dmvpn_agent.view.sa_json import ike_sa_json
from dmvpn_agent.view.strangers import failed_attempts

log = structlog.get_logger()

#: Entries in the history of one peer that ``peer`` shows.
RECENT = 20
#: Entries of the history in one answer, if the request does not tell.
DEFAULT_LIMIT = 1000
#: How many peers a question about SAs may name.
MOST_NAMES = 100


@dataclass(slots=True)
class Requests:
    """``state``: the state of every component, as JSON values."""

    state: Callable[[], dict[str, Any]]
    peer_watch: PeerWatch
    charon: CharonWatch
    history: History
    actions: Actions
    clock: Clock
    telemetry: Telemetry

    def __post_init__(self) -> None:
        """Begin the counters at 0."""
        self.telemetry.expect(metrics)

    async def answer(self, request: Request) -> Document | AsyncIterator[Document]:
        """Return the answer, or the documents of a stream. Raises ``RequestError``."""
        looks: Mapping[str, Callable[[Mapping[str, Any]], Awaitable[Any]]] = {
            "status": self._status, "peers": self._peers, "peer": self._peer, "history": self._find,
            "sas": self._sas,
        }  # fmt: skip
        on_peer: Mapping[str, Callable[[JoinedPeer], Awaitable[Any]]] = {
            "kick": self.actions.kick, "quarantine": self.actions.quarantine, "release": self.actions.release,
            "forget": self.actions.forget,
        }  # fmt: skip
        on_node: Mapping[str, Callable[[], Awaitable[Any]]] = {
            "reload": self.actions.reload, "resync": self.actions.resync,
        }  # fmt: skip
        command = request.command
        if command == "events":
            return self._events()
        if command in looks:
            return document(f"{command}/1", await looks[command](request.arguments))
        if command not in on_peer and command not in on_node:
            raise RequestError(Code.USAGE, f"{command!r:.40} is unknown; is the agent older than this program?")
        if request.user not in {0, os.geteuid()}:
            raise RequestError(Code.NOT_ALLOWED, f"only root may {command}; the socket's group may only look")
        if command in on_node:
            done = await self._logged(request, None, on_node[command]())
        else:
            peer = await self._named(request.arguments)
            done = await self._logged(request, peer, on_peer[command](peer))
        return document("action/1", {"command": command, **done})

    async def _logged(
        self, request: Request, peer: JoinedPeer | None, work: Awaitable[dict[str, Any]]
    ) -> dict[str, Any]:
        user, name = _user(request.user), peer.name if peer else ""
        try:
            done = await work
        except RequestError as error:
            self.telemetry.increment(metrics.OPERATOR_COMMANDS, request.command, "refused")
            log.warning("operator_command_refused", command=request.command, peer=name, user=user, why=str(error))
            self._note(request.command, name, peer, f"refused to {user}: {error}")
            raise
        self.telemetry.increment(metrics.OPERATOR_COMMANDS, request.command, "done")
        log.info("operator_command", command=request.command, peer=name, user=user)
        self._note(request.command, name, peer, f"by {user}")
        return done

    def _note(self, command: str, name: str, peer: JoinedPeer | None, text: str) -> None:
        addresses = tuple(map(str, peer.protocol_addresses[:4])) if peer else ()
        self.history.add(EntryKind.OPERATOR, command, peer=name, text=text, addresses=addresses)

    async def _status(self, _: Mapping[str, Any]) -> dict[str, Any]:
        peers = await self.peer_watch.refresh()
        state = self.state()
        found = faults(state, peers)
        failed = failed_attempts(self.charon.last_alerts.by_address(), peers, self.clock())
        return {
            **state,
            "degraded": bool(found),
            "faults": found,
            "peer_counts": peer_counts(peers),
            "failed_attempts": failed,
        }

    async def _peers(self, _: Mapping[str, Any]) -> dict[str, Any]:
        peers, now = await self.peer_watch.refresh(), self.clock()
        return {"counts": peer_counts(peers), "peers": [peer_summary(peer, now) for peer in peers]}

    async def _peer(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        peer = await self._named(arguments)
        entries = await asyncio.to_thread(self.history.find, Filter(_names(peer), limit=RECENT))
        return {"peer": peer_details(peer, self.clock()), "history": [entry.as_json() for entry in entries]}

    async def _sas(self, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
        words = arguments.get("peers")
        if words is not None and not (isinstance(words, list) and len(words) <= MOST_NAMES):
            raise RequestError(Code.USAGE, f"peers is no list of at most {MOST_NAMES} names")
        peers = await self.peer_watch.refresh()
        chosen = [self._present(str(word)) for word in words or ()]
        if not self.charon.connected:
            raise RequestError(Code.UNREACHABLE, "the agent is not connected to charon: no SAs are known")
        owners = {sa.unique_id: peer for peer in peers for sa in peer.ike_sas}
        names = {peer.name for peer in chosen}
        return [
            {"peer": owner.name if owner else None, **ike_sa_json(sa)}
            for sa in self.charon.ike_sas
            for owner in (owners.get(sa.unique_id),)
            if not names or (owner and owner.name in names)
        ]

    async def _find(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        names: frozenset[str] = frozenset()
        found: tuple[JoinedPeer, ...] = ()
        if word := arguments.get("peer"):
            await self.peer_watch.refresh()
            found = self.peer_watch.find(str(word))
            names = frozenset({str(word)}).union(*map(_names, found))
        limit = arguments.get("limit", DEFAULT_LIMIT)
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
            raise RequestError(Code.USAGE, f"limit is {limit!r:.40}; expected a number from 1")
        wanted = Filter(names, _since(arguments.get("since")), arguments.get("denied") is True, limit)
        entries = await asyncio.to_thread(self.history.find, wanted)
        if names and not entries and not found:
            raise _no_such_peer(str(word))
        return {"entries": [entry.as_json() for entry in entries]}

    async def _events(self) -> AsyncIterator[Document]:
        async for entry in self.history.follow():
            yield document("event/1", entry.as_json())

    async def _named(self, arguments: Mapping[str, Any]) -> JoinedPeer:
        """Return the peer that a request names. Raises ``RequestError``."""
        await self.peer_watch.refresh()
        return self._present(str(arguments.get("peer", "")))

    def _present(self, word: str) -> JoinedPeer:
        found = self.peer_watch.find(word)
        if not found:
            raise _no_such_peer(word)
        if len(found) > 1:
            names = ", ".join(peer.name for peer in found[:10])
            raise RequestError(
                Code.AMBIGUOUS, f"{word!r:.80} names {len(found)} peers: {names}; use one of these names"
            )
        return found[0]


def _no_such_peer(word: str) -> RequestError:
    return RequestError(
        Code.NO_SUCH_PEER,
        f"no peer is named {word!r:.80}; expected a name, an address, or a certificate's subject or fingerprint"
        " (`dmvpn-agent peers` lists them)",
    )


def _names(peer: JoinedPeer) -> frozenset[str]:
    return frozenset({peer.name, *map(str, peer.protocol_addresses)})


def _since(text: object) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise RequestError(Code.USAGE, f"since is {text!r:.40}; expected a time in ISO 8601 with its offset")
    return moment


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
