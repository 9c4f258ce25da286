"""How many requests of nhrpd's may wait for charon at once."""

import asyncio
from dataclasses import replace

import pytest

from dmvpn_agent.admission import waiting_requests
from dmvpn_agent.admission.nhrp_event import AuthorizeBinding
from dmvpn_agent.admission.waiting_requests import MAX_WAITING_PER_NBMA_ADDRESS, WaitingRequests
from factories import ADDRESS, NBMA, request


def _event(number: int, nbma: int) -> AuthorizeBinding:
    return AuthorizeBinding(number, replace(request(), protocol_address=ADDRESS + number, nbma_address=NBMA + nbma))


async def test_so_many_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """More would be without a bound."""
    monkeypatch.setattr(waiting_requests, "MAX_WAITING", 100)
    waiting = WaitingRequests()
    for number in range(100):
        assert waiting.has_room(_event(number, number))
        waiting.start(_event(number, number), asyncio.sleep(3600))
    assert not waiting.has_room(_event(100, 100))
    waiting.cancel_all()


async def test_one_address_leaves_room_for_the_others() -> None:
    """A peer that registers many addresses; whatever ends its requests makes room for more of them."""
    waiting = WaitingRequests()
    for number in range(MAX_WAITING_PER_NBMA_ADDRESS):
        assert waiting.has_room(_event(number, 0))
        waiting.start(_event(number, 0), asyncio.sleep(0 if number == 1 else 3600))
    assert not waiting.has_room(_event(50, 0))
    assert waiting.has_room(_event(50, 1))
    waiting.cancel_earlier(_event(0, 0))
    assert waiting.has_room(_event(0, 0))
    waiting.start(_event(0, 0), asyncio.sleep(3600))
    assert not waiting.has_room(_event(50, 0))
    await asyncio.sleep(0.01)  # the one that is done
    assert waiting.has_room(_event(50, 0))
    waiting.cancel_all()
    await asyncio.sleep(0.01)
    assert not waiting._waiting
    assert not waiting._here
