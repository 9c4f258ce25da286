"""Counters of nftables as totals that never decrease, although a counter is gone when its table is rewritten."""

from collections.abc import Hashable, Mapping

from dmvpn_agent.kernel.nftables.shown_table import Count

_ZERO = Count(0, 0)


class Totals:
    """The total of each counter since the agent started, by any key."""

    def __init__(self) -> None:
        self._last: dict[Hashable, Count] = {}
        self._totals: dict[Hashable, Count] = {}

    def begin(self, counts: Mapping[Hashable, Count]) -> None:
        """Note what the counters have counted before the agent counts."""
        self._last = dict(counts)

    def update(self, counts: Mapping[Hashable, Count]) -> dict[Hashable, Count]:
        """Add what the counters have counted since the last update; return it by key.

        A counter that shows less than before was made again, and has counted from 0.
        """
        grown = {}
        for key, now in counts.items():
            last = self._last.get(key, _ZERO)
            base = _ZERO if now.packets < last.packets or now.bytes < last.bytes else last
            grown[key] = Count(now.packets - base.packets, now.bytes - base.bytes)
            total = self._totals.get(key, _ZERO)
            self._totals[key] = Count(total.packets + grown[key].packets, total.bytes + grown[key].bytes)
        self._last = dict(counts)
        return grown

    def total(self, key: Hashable) -> Count:
        """Return a counter's total; 0 before its first update."""
        return self._totals.get(key, _ZERO)
