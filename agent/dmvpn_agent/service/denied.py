"""Who was denied, so that it can be judged again when what denied it is no more."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from dmvpn_agent.core.model import Address, BindingRequest, Deny
from dmvpn_agent.service.trigger import Trigger

#: Whoever can reach us can be denied; only so many are remembered, the latest.
REMEMBERED = 1000


@dataclass(frozen=True, slots=True)
class Denial:
    """A request that was denied, and why."""

    request: BindingRequest
    why: Deny


class Denied:
    """The latest denial of each pair of protocol and NBMA address, and those that would be accepted now.

    ``news`` is set when there is something to do about them.
    """

    def __init__(self) -> None:
        self._denials: OrderedDict[tuple[Address, Address], Denial] = OrderedDict()
        self._readmitted: list[BindingRequest] = []
        self.news = Trigger()

    def __iter__(self) -> Iterator[Denial]:
        return iter(tuple(self._denials.values()))

    def __contains__(self, request: BindingRequest) -> bool:
        return _key(request) in self._denials

    def has(self, denial: Denial) -> bool:
        """Tell whether this is still its pair's latest denial."""
        return self._denials.get(_key(denial.request)) is denial

    def __len__(self) -> int:
        return len(self._denials)

    def note(self, request: BindingRequest, why: Deny) -> None:
        """Remember a denial, in place of the pair's former one."""
        key = _key(request)
        self._denials[key] = Denial(request, why)
        self._denials.move_to_end(key)
        if len(self._denials) > REMEMBERED:
            self._denials.popitem(last=False)
        self.news.set()

    def drop(self, request: BindingRequest) -> None:
        """Forget the pair's denial; there need not be one."""
        self._denials.pop(_key(request), None)

    def readmit(self, request: BindingRequest) -> None:
        """Have a peer that was denied, and would be accepted now, ask again."""
        self.drop(request)
        self._readmitted.append(request)
        self.news.set()

    def take_readmitted(self) -> tuple[BindingRequest, ...]:
        """Return the requests to have asked again, once."""
        taken, self._readmitted = tuple(self._readmitted), []
        return taken


def _key(request: BindingRequest) -> tuple[Address, Address]:
    return request.protocol_address, request.nbma_address
