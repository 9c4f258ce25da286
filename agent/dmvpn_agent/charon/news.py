"""Of which NBMA addresses charon has reported something that the last list of IKE_SAs may not show."""

from collections.abc import Iterable

from dmvpn_agent.addresses import Address


class News:
    """The addresses of IKE_SAs in events, until a list is complete that began after the event.

    Events are coalesced, so that a list follows some tenths of a second later.
    """

    def __init__(self) -> None:
        self._reported: set[Address] = set()
        self._being_listed: set[Address] = set()

    def __contains__(self, address: Address) -> bool:
        return address in self._reported or address in self._being_listed

    def note(self, addresses: Iterable[Address]) -> None:
        """Note an event."""
        self._reported.update(addresses)

    def begin_list(self) -> None:
        """Note that charon is asked for a list; one that failed does not count."""
        self._being_listed |= self._reported
        self._reported = set()

    def end_list(self) -> None:
        """Note that the list is complete."""
        self._being_listed = set()
