"""The latest denials: they are judged again when their cause may have ended."""

from collections import Counter, OrderedDict
from collections.abc import Iterator
from datetime import datetime

from dmvpn_agent.addresses import Address
from dmvpn_agent.admission.denial import Denial
from dmvpn_agent.policy.decision import Deny
from dmvpn_agent.policy.request import BindingRequest
from dmvpn_agent.runtime.debounced_event import DebouncedEvent

#: Limit of the table, because anything that reaches the node can be denied. Beyond it, the oldest denial of the NBMA
#: address with the most denials is removed: a peer may register any number of protocol addresses.
REMEMBERED = 1000


class DenialTable:
    """The latest denial of each pair of protocol and NBMA address, and the requests that are acceptable again.

    ``changed`` is set when there is something to enforce. ``version`` grows with each denial that comes or goes.
    """

    def __init__(self) -> None:
        self._denials: OrderedDict[tuple[Address, Address], Denial] = OrderedDict()
        self._count_at: Counter[Address] = Counter()
        self._readmitted: list[BindingRequest] = []
        self.changed = DebouncedEvent()
        self.version = 0

    def __iter__(self) -> Iterator[Denial]:
        return iter(tuple(self._denials.values()))

    def __contains__(self, request: BindingRequest) -> bool:
        return request.pair in self._denials

    def is_latest(self, denial: Denial) -> bool:
        """Tell whether this is still the latest denial of its pair."""
        return self._denials.get(denial.request.pair) is denial

    def __len__(self) -> int:
        return len(self._denials)

    def add(self, request: BindingRequest, why: Deny, at: datetime | None = None) -> None:
        """Add a denial in place of the pair's earlier one."""
        key = request.pair
        self.version += 1
        self._count_at[request.nbma_address] += key not in self._denials
        self._denials[key] = Denial(request, why, at)
        self._denials.move_to_end(key)
        if len(self._denials) > REMEMBERED:
            crowded = max(self._count_at, key=self._count_at.__getitem__)
            self._forget(next(key for key in self._denials if key[1] == crowded))
        self.changed.set()

    def remove(self, request: BindingRequest) -> None:
        """Remove the pair's denial; there need not be one."""
        if request in self:
            self._forget(request.pair)

    def _forget(self, key: tuple[Address, Address]) -> None:
        self.version += 1
        del self._denials[key]
        self._count_at[key[1]] -= 1
        if not self._count_at[key[1]]:
            del self._count_at[key[1]]

    def readmit(self, request: BindingRequest) -> None:
        """Note that a denied peer is acceptable now, and must be made to register again."""
        self.remove(request)
        self._readmitted.append(request)
        self.changed.set()

    def take_readmitted(self) -> tuple[BindingRequest, ...]:
        """Return, once, the requests of the peers that must register again."""
        taken, self._readmitted = tuple(self._readmitted), []
        return taken
