"""Starts SAs by packets: for a packet without an SA the kernel requests one from charon (an acquire).

nhrpd requests an SA once when a tunnel ends, and next after a quarter of the holding time. At first the old SA may
still be in the kernel, and the packet leaves by it. So the bridge repeats the packet until there is a circuit. While
charon is negotiating, the kernel holds further packets and requests nothing.
"""

import asyncio
from collections.abc import Callable, Sequence

from dmvpn_agent.addresses import Address
from dmvpn_agent.bridge import metrics
from dmvpn_agent.runtime.telemetry import Telemetry

#: Seconds after a packet in which a new request for the same addresses sends none: charon is negotiating, or the peer
#: has just refused.
ACQUIRE_INTERVAL = 2.0
#: Seconds before each repetition. Their sum is less than charon's own retransmissions take.
REPETITIONS = (1.0, 2.0, 4.0, 8.0)

Pair = tuple[Address, Address]


class AcquireFailed(Exception):
    """The packet that starts an SA could not be sent; the text says what to do."""


class Acquirer:
    """Sends the packets that start SAs: ``send(local, remote)`` sends one.

    ``repetitions``: seconds before each further packet for the same addresses.
    """

    def __init__(
        self,
        send: Callable[[Address, Address], None],
        telemetry: Telemetry,
        clock: Callable[[], float],
        repetitions: Sequence[float] = REPETITIONS,
    ) -> None:
        self._send = send
        self._telemetry = telemetry
        self._clock = clock
        self._repetitions = repetitions
        self._sent: dict[Pair, float] = {}
        self._waiting: dict[Pair, asyncio.TimerHandle] = {}

    def sent_recently(self, pair: Pair) -> bool:
        """Tell whether a packet was sent within ``ACQUIRE_INTERVAL``."""
        now = self._clock()
        self._sent = {key: at for key, at in self._sent.items() if now - at < ACQUIRE_INTERVAL}
        return pair in self._sent

    def forget(self, pair: Pair) -> None:
        """Let the next request send a packet at once: a circuit has come or gone."""
        self._sent.pop(pair, None)

    def start(self, pair: Pair, is_needed: Callable[[Pair], bool]) -> None:
        """Send a packet, and repeat it while ``is_needed(pair)``. Raises ``AcquireFailed``."""
        try:
            self._send(*pair)
        except AcquireFailed:
            self._telemetry.increment(metrics.BRIDGE_TRIGGERS, "failed")
            raise
        self._sent[pair] = self._clock()
        self._telemetry.increment(metrics.BRIDGE_TRIGGERS, "sent")
        self._wait(pair, is_needed, self._repetitions)

    def _wait(self, pair: Pair, is_needed: Callable[[Pair], bool], repetitions: Sequence[float]) -> None:
        if (former := self._waiting.pop(pair, None)) is not None:
            former.cancel()
        if repetitions:
            loop = asyncio.get_running_loop()
            self._waiting[pair] = loop.call_later(repetitions[0], self._repeat, pair, is_needed, repetitions[1:])

    def _repeat(self, pair: Pair, is_needed: Callable[[Pair], bool], then: Sequence[float]) -> None:
        del self._waiting[pair]
        if not is_needed(pair):
            return
        try:
            self._send(*pair)
        except AcquireFailed:
            self._telemetry.increment(metrics.BRIDGE_TRIGGERS, "failed")
            return
        self._telemetry.increment(metrics.BRIDGE_TRIGGERS, "repeated")
        self._wait(pair, is_needed, then)
