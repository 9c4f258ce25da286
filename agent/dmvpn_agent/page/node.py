"""One node of the page: what it answered, when, and why it does not."""

import asyncio
import json
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog

from dmvpn_agent.page.metrics import PAGE_READS
from dmvpn_agent.page.sources import Source
from dmvpn_agent.runtime.backoff import Trouble
from dmvpn_agent.runtime.clocks import Clock
from dmvpn_agent.runtime.document import Code, Document, failure
from dmvpn_agent.runtime.http_coding import compressed
from dmvpn_agent.runtime.telemetry import Telemetry

log = structlog.get_logger()

#: Seconds in which a node must answer.
TIMEOUT = 8.0
#: Seconds for which an answer counts, however many browsers ask.
FRESH = 1.0
#: Requests about one peer, or the history, at once: a node's control socket has few connections, and operators need
#: one. The others cannot be many, as those who want the same share one.
AT_ONCE = 4
#: What of ``status`` the list of the nodes has.
STATUS_KEYS = ("role", "version", "started", "dry_run", "degraded", "faults", "peer_counts")


@dataclass(frozen=True, slots=True)
class Answer:
    """A document, and as it is sent: plain and in gzip."""

    document: Document
    body: bytes
    packed: bytes

    @property
    def ok(self) -> bool:
        """Tell whether it has data."""
        return self.document["ok"] is True


@dataclass(slots=True)
class State:
    """``why``: it did not answer the last time; empty if it did. ``status``: its last one, of ``answered_at``."""

    why: str = ""
    answered_at: datetime | None = None
    asked: bool = False
    status: dict[str, Any] = field(default_factory=dict)


class Node:
    """Asks one node. Several who want the same at the same time cost it one request."""

    def __init__(
        self, name: str, source: Source, telemetry: Telemetry, clock: Clock, *, timeout: float = TIMEOUT
    ) -> None:
        self.name = name
        self.state = State()
        self._source = source
        self._telemetry = telemetry
        self._clock = clock
        self._timeout = timeout
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._running: dict[str, asyncio.Task[Answer]] = {}
        self._trouble = Trouble()

    async def ask(self, command: str, arguments: Mapping[str, Any]) -> Answer:
        """Return its answer. Without a valid one, return a document with the error."""
        key = json.dumps([command, arguments], sort_keys=True)
        if (task := self._running.get(key)) is None:
            task = self._running[key] = asyncio.create_task(self._answer(command, arguments))
            fresh = 0.0 if arguments else FRESH
            task.add_done_callback(
                lambda _: asyncio.get_running_loop().call_later(fresh, self._running.pop, key, None)
            )
        return await asyncio.shield(task)

    def as_json(self) -> dict[str, Any]:
        """Return its state as JSON values."""
        at = self.state.answered_at
        return {
            "name": self.name,
            "reachable": not self.state.why and at is not None,
            "why": self.state.why,
            "answered_at": at.isoformat(timespec="seconds") if at else None,
            "age_seconds": max(0, round((self._clock() - at).total_seconds())) if at else None,
            "status": self.state.status or None,
        }

    async def _answer(self, command: str, arguments: Mapping[str, Any]) -> Answer:
        try:
            async with asyncio.timeout(self._timeout), self._turns if arguments else nullcontext():
                found = await self._source.ask(command, arguments)
            answer = await asyncio.to_thread(_checked, command, found)
        except TimeoutError:
            return self._failed("unreachable", f"it did not answer within {self._timeout:g} s")
        except OSError as error:
            return self._failed("unreachable", str(error) or repr(error))
        except ValueError as error:
            return self._failed("invalid", str(error))
        self._answered(command, answer)
        return answer

    def _answered(self, command: str, answer: Answer) -> None:
        self._telemetry.increment(PAGE_READS, "answered")
        if self.state.why:
            log.info("page_node_answers", node=self.name)
        self._trouble.over()
        self.state.why, self.state.answered_at, self.state.asked = "", self._clock(), True
        if command == "status" and answer.ok:
            self.state.status = {key: answer.document["data"].get(key) for key in STATUS_KEYS}

    def _failed(self, outcome: str, why: str) -> Answer:
        self._telemetry.increment(PAGE_READS, outcome)
        self.state.why, self.state.asked = why, True
        if self._trouble.is_new(why):
            log.warning("page_node_unreachable", node=self.name, outcome=outcome, why=why,
                        consequence="the page shows this in place of its peers")  # fmt: skip
        return _packed(failure("error/1", Code.UNREACHABLE, f"no answer from {self.name}: {why}"))


def _checked(command: str, found: Document) -> Answer:
    """Return an answer as it is sent on. Raises ``ValueError`` if it is no answer to the command."""
    if found["ok"] is True:
        if found["schema"] != f"{command}/1" or not isinstance(found["data"], dict):
            raise ValueError(f"it answered {found['schema']!r:.40} to {command}; expected {command}/1")
    elif not isinstance(found["error"], dict) or not isinstance(found["error"].get("message"), str):
        raise ValueError("it sent a failure without a reason; is it an agent of another version?")
    return _packed(found)


def _packed(document: Document) -> Answer:
    """Return a document as it is sent. Raises ``ValueError`` if JSON cannot say it."""
    try:
        body = json.dumps(document, allow_nan=False).encode()
    except RecursionError:
        raise ValueError("its answer is nested too deep") from None
    return Answer(document, body, compressed(body))
