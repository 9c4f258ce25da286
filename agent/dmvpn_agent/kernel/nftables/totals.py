"""Counters of nftables as totals that never decrease, although a counter is gone when its table is rewritten."""

from collections.abc import Hashable, Mapping

from dmvpn_agent.addresses import Address
from dmvpn_agent.kernel.nftables.section import Owner
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


class PeerTotals:
    """What each accepted peer has sent since it was accepted, of each kind (``Owner.what``)."""

    def __init__(self) -> None:
        self._owners: Mapping[tuple[str, str], Owner] = {}
        self._totals: dict[Owner, Count] = {}

    def update(self, grown: Mapping[Hashable, Count]) -> None:
        """Add what the elements have counted."""
        for key, count in grown.items():
            owner = self._owners.get(key)  # type: ignore[call-overload]
            if owner is not None:
                total = self._totals.get(owner, _ZERO)
                self._totals[owner] = Count(total.packets + count.packets, total.bytes + count.bytes)

    def assign(self, owners: Mapping[tuple[str, str], Owner]) -> None:
        """Say whose packets the elements count from now on; a peer that is not among them is forgotten."""
        if owners is not self._owners:
            self._owners = owners
            self._totals = {owner: self._totals.get(owner, _ZERO) for owner in owners.values()}

    def of(self, what: str) -> dict[Address, Count]:
        """Return the totals of one kind by the peers' protocol addresses."""
        return {owner.peer: count for owner, count in self._totals.items() if owner.what == what}
