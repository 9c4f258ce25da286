"""The requests of one connection of nhrpd's whose answers wait for charon."""

import asyncio
from collections.abc import Coroutine
from typing import Any, NamedTuple

from dmvpn_agent.addresses import Address
from dmvpn_agent.admission.nhrp_event import AuthorizeBinding

#: Requests of a connection that may wait; one more is answered by what is known.
MAX_WAITING = 512
#: Of those, how many may have a certificate: by what is known, one without is always denied, and one with may not be.
MAX_WAITING_WITH_CERTIFICATE = 256
#: Of those, how many may be from one NBMA address: a peer that registers many addresses does not delay the others.
MAX_WAITING_PER_NBMA_ADDRESS = 16

#: Interface and protocol address.
_Binding = tuple[str, Address]


class _Waiting(NamedTuple):
    nbma_address: Address
    has_certificate: bool
    task: asyncio.Task[None]


class WaitingRequests:
    """One task for each binding. The requests after it do not wait: nhrpd matches answers by their numbers."""

    def __init__(self) -> None:
        self._waiting: dict[_Binding, _Waiting] = {}

    def has_room(self, event: AuthorizeBinding) -> bool:
        """Tell whether one more request from the event's NBMA address may wait."""
        waiting = self._waiting.values()
        if len(waiting) >= MAX_WAITING:
            return False
        certified = sum(one.has_certificate for one in waiting)
        if event.request.certificate is not None and certified >= MAX_WAITING_WITH_CERTIFICATE:
            return False
        here = sum(one.nbma_address == event.request.nbma_address for one in waiting)
        return here < MAX_WAITING_PER_NBMA_ADDRESS

    def start(self, event: AuthorizeBinding, answering: Coroutine[Any, Any, None]) -> None:
        """Run ``answering`` in a task of its own."""
        binding = _binding(event)
        task = asyncio.create_task(answering)
        self._waiting[binding] = _Waiting(event.request.nbma_address, event.request.certificate is not None, task)
        task.add_done_callback(lambda done: self._forget(binding, done))

    def _forget(self, binding: _Binding, done: asyncio.Task[None]) -> None:
        if (waiting := self._waiting.get(binding)) is not None and waiting.task is done:
            del self._waiting[binding]

    def cancel_earlier(self, event: AuthorizeBinding) -> None:
        """Cancel an earlier request for the same binding.

        nhrpd has forgotten it, and its decision must not come after that of the later one.
        """
        if (earlier := self._waiting.pop(_binding(event), None)) is not None:
            earlier.task.cancel()

    def cancel_all(self) -> None:
        """Cancel every request: the connection is closed."""
        for waiting in self._waiting.values():
            waiting.task.cancel()


def _binding(event: AuthorizeBinding) -> _Binding:
    return event.request.interface, event.request.protocol_address
