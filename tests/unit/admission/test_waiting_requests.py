"""How many requests of nhrpd's may wait for charon at once."""

import asyncio
from dataclasses import replace

from dmvpn_agent.admission.nhrp_event import AuthorizeBinding
from dmvpn_agent.admission.waiting_requests import MAX_WAITING, MAX_WAITING_WITH_CERTIFICATE, WaitingRequests
from dmvpn_agent.policy.request import BindingRequest
from factories import ADDRESS, NBMA, request


def _event(number: int, request: BindingRequest) -> AuthorizeBinding:
    return AuthorizeBinding(number, replace(request, protocol_address=ADDRESS + number, nbma_address=NBMA + number))


async def test_requests_with_a_certificate_leave_room_for_those_without() -> None:
    """nhrpd holds no certificate of 2048 bytes or more: such a peer is denied if its request cannot wait."""
    waiting = WaitingRequests()
    for number in range(MAX_WAITING):
        event = _event(number, request())
        if waiting.has_room(event):
            waiting.start(event, asyncio.sleep(3600))
    assert number >= MAX_WAITING_WITH_CERTIFICATE
    assert not waiting.has_room(_event(MAX_WAITING, request()))
    assert waiting.has_room(_event(MAX_WAITING, request(certificate=None)))
    waiting.cancel_all()
