"""Requesting an SA by packets until there is one."""

from collections.abc import Callable
from ipaddress import ip_address

import pytest

from dmvpn_agent.addresses import Address
from dmvpn_agent.bridge import metrics
from dmvpn_agent.bridge.acquire import ACQUIRE_INTERVAL, AcquireFailed, Acquirer, Pair
from dmvpn_agent.runtime.telemetry import Telemetry
from fakes.waiting import until

PAIR = ip_address("203.0.113.1"), ip_address("203.0.113.2")


class Kernel:
    """Takes packets; ``answers``: after how many of them there is a circuit."""

    def __init__(self, answers: int = 1000) -> None:
        self.sent: list[Pair] = []
        self.asked = 0
        self.broken = False
        self._answers = answers

    def send(self, local: Address, remote: Address) -> None:
        if self.broken:
            raise AcquireFailed("no route")
        self.sent.append((local, remote))

    def lacks(self, _: Pair) -> bool:
        self.asked += 1
        return len(self.sent) < self._answers


def _acquirer(kernel: Kernel, telemetry: Telemetry, clock: Callable[[], float] = lambda: 0.0) -> Acquirer:
    return Acquirer(kernel.send, telemetry, clock, repetitions=(0.0, 0.0, 0.0))


async def test_the_packet_is_repeated_until_there_is_a_circuit(telemetry: Telemetry) -> None:
    """The first one may leave by the SA that is about to go."""
    kernel = Kernel(answers=3)
    _acquirer(kernel, telemetry).start(PAIR, kernel.lacks)
    await until(lambda: kernel.asked == 3)
    assert kernel.sent == [PAIR] * 3
    assert telemetry.value(metrics.BRIDGE_TRIGGERS, "repeated") == 2


async def test_repetition_ends(telemetry: Telemetry) -> None:
    """nhrpd requests the SA again by itself."""
    kernel = Kernel()
    _acquirer(kernel, telemetry).start(PAIR, kernel.lacks)
    await until(lambda: len(kernel.sent) == 4)
    assert telemetry.value(metrics.BRIDGE_TRIGGERS, "repeated") == 3


async def test_a_packet_that_cannot_be_sent_is_not_repeated(telemetry: Telemetry) -> None:
    """The client receives the reason; a repetition that fails is only counted."""
    kernel = Kernel()
    acquirer = _acquirer(kernel, telemetry)
    kernel.broken = True
    with pytest.raises(AcquireFailed):
        acquirer.start(PAIR, kernel.lacks)
    assert not acquirer.sent_recently(PAIR)
    kernel.broken = False
    acquirer.start(PAIR, kernel.lacks)
    kernel.broken = True
    await until(lambda: telemetry.value(metrics.BRIDGE_TRIGGERS, "failed") == 2)
    assert kernel.sent == [PAIR]


async def test_a_packet_was_sent_recently_unless_a_circuit_came_or_went(telemetry: Telemetry) -> None:
    """A second request within moments needs no packet."""
    now = 0.0
    kernel = Kernel(answers=1)
    acquirer = _acquirer(kernel, telemetry, lambda: now)
    acquirer.start(PAIR, kernel.lacks)
    assert acquirer.sent_recently(PAIR)
    acquirer.forget(PAIR)
    assert not acquirer.sent_recently(PAIR)
    acquirer.start(PAIR, kernel.lacks)
    now = ACQUIRE_INTERVAL
    assert not acquirer.sent_recently(PAIR)
