"""The requests of one connection of nhrpd's whose answers wait for charon."""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from typing import Any, NamedTuple

from dmvpn_agent.addresses import Address
from dmvpn_agent.admission.nhrp_event import AuthorizeBinding

#: Requests of a connection that may wait: as many peers may come back at once. One more is answered by what is known,
#: which is mostly a denial.
MAX_WAITING = 2048
#: Of those, how many may be from one NBMA address: a peer that registers many addresses does not delay the others.
MAX_WAITING_PER_NBMA_ADDRESS = 16

#: Interface and protocol address.
_Binding = tuple[str, Address]


class _Waiting(NamedTuple):
    nbma_address: Address
    task: asyncio.Task[None]


class WaitingRequests:
    """One task for each binding. The requests after it do not wait: nhrpd matches answers by their numbers."""

    def __init__(self) -> None:
        self._waiting: dict[_Binding, _Waiting] = {}
        self._here: Counter[Address] = Counter()

    def has_room(self, event: AuthorizeBinding) -> bool:
        """Tell whether one more request from the event's NBMA address may wait."""
        here = self._here[event.request.nbma_address]
        return len(self._waiting) < MAX_WAITING and here < MAX_WAITING_PER_NBMA_ADDRESS

    def start(self, event: AuthorizeBinding, answering: Coroutine[Any, Any, None]) -> None:
        """Run ``answering`` in a task of its own; an earlier request for the same binding must be cancelled."""
        binding = _binding(event)
        task = asyncio.create_task(answering)
        self._waiting[binding] = _Waiting(event.request.nbma_address, task)
        self._here[event.request.nbma_address] += 1
        task.add_done_callback(lambda done: self._forget(binding, done))

    def _forget(self, binding: _Binding, done: asyncio.Task[None]) -> None:
        if (waiting := self._waiting.get(binding)) is not None and waiting.task is done:
            self._remove(binding)

    def _remove(self, binding: _Binding) -> _Waiting | None:
        if (waiting := self._waiting.pop(binding, None)) is not None:
            self._here[waiting.nbma_address] -= 1
            if not self._here[waiting.nbma_address]:
                del self._here[waiting.nbma_address]
        return waiting

    def cancel_earlier(self, event: AuthorizeBinding) -> None:
        """Cancel an earlier request for the same binding.

        nhrpd has forgotten it, and its decision must not come after that of the later one.
        """
        if (earlier := self._remove(_binding(event))) is not None:
            earlier.task.cancel()

    def cancel_all(self) -> None:
        """Cancel every request: the connection is closed."""
        for waiting in self._waiting.values():
            waiting.task.cancel()


def _binding(event: AuthorizeBinding) -> _Binding:
    return event.request.interface, event.request.protocol_address
