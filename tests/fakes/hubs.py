"""nhrpd's hubs without nhrpd, and its configuration as text."""

from collections.abc import Sequence

from dmvpn_agent.addresses import Address
from dmvpn_agent.enforcement.hub_names import HubNames
from dmvpn_agent.enforcement.hub_sas import HubsUnknown
from dmvpn_agent.enforcement.hub_state import Hub
from dmvpn_agent.frr.terminal import Reply
from dmvpn_agent.runtime.telemetry import Telemetry
from factories import NBMA

LOCAL = NBMA - 1


class FakeHubs:
    """Implements ``Hubs``.

    ``hubs``: what nhrpd answers, ``None`` if it does not. ``gone``: addresses that this node no longer has.
    """

    def __init__(self, *hubs: Hub) -> None:
        self.hubs: Sequence[Hub] | None = hubs
        self.local: Address | None = LOCAL
        self.gone: set[Address] = set()
        self.reads = 0

    async def read(self) -> Sequence[Hub]:
        self.reads += 1
        if self.hubs is None:
            raise HubsUnknown("nhrpd is not running")
        return self.hubs

    def local_address(self, _: str) -> Address | None:
        return self.local

    def is_gone(self, address: Address) -> bool:
        return address in self.gone


class FakeConfiguration:
    """nhrpd's terminal. ``written``: the commands of each run but the one that shows the configuration."""

    name = "fake"

    def __init__(self, text: str = "") -> None:
        self.text = text
        self.written: list[Sequence[str]] = []
        self.addresses: set[Address] = set()

    async def run(self, daemon: str, lines: Sequence[str]) -> Reply:
        assert daemon == "nhrpd"
        if lines != ("show running-config",):
            self.written.append(lines)
        return Reply(0, self.text)

    def names(self, telemetry: Telemetry, *, dry_run: bool = False) -> HubNames:
        """Return what looks after the names; each resolves to ``addresses``."""
        return HubNames(self, self, telemetry, resolver=self._resolve, dry_run=dry_run)

    async def _resolve(self, _: str) -> set[Address]:
        return self.addresses
