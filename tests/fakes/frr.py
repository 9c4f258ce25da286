"""Fakes of bgpd and nhrpd: the model behind the interfaces, with switches for failures."""

from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_address

from dmvpn_agent.addresses import Address
from dmvpn_agent.admission.bindings import NhrpdUnavailable
from dmvpn_agent.bgp.bgpd import FrrRefused, FrrUnavailable, Snapshot
from dmvpn_agent.bgp.plan import Change
from dmvpn_agent.bgp.running_config import parse_running_config
from dmvpn_agent.bgp.sessions import Session
from dmvpn_agent.bgp.settings import Instance
from dmvpn_agent.bgp.vtysh_lines import render
from dmvpn_agent.policy.request import BindingRequest, BindingType
from factories import NBMA
from fakes.bgpd_model import BgpdModel, Refused


class FakeBgpd:
    """Implements ``Bgpd`` over a model. ``down``: unreachable. ``refuse``: tells which lines it refuses."""

    def __init__(self, model: BgpdModel | None = None) -> None:
        self.model = model or BgpdModel()
        self.down = False
        self.refuse: Callable[[str], bool] = lambda line: False
        #: The number of lines after which the connection breaks, once.
        self.breaks_after: int | None = None
        #: Neighbors with an established session.
        self.established: set[str] = set()
        #: Neighbors whose session bgpd ended at their limit.
        self.over_limit: set[str] = set()
        self.attempts = 0
        self.batches: list[tuple[Change, ...]] = []

    async def observe(self) -> Snapshot:
        self.attempts += 1
        if self.down:
            raise FrrUnavailable("bgpd is not running")
        states = dict.fromkeys(self.established, "Established") | dict.fromkeys(self.over_limit, "Idle (PfxCt)")
        sessions = {
            ip_address(address): Session(states.get(address, "Active"), 0) for address in self.model.neighbors
        }
        return Snapshot(parse_running_config(self.model.running_config()), sessions)

    async def apply(self, changes: Sequence[Change]) -> None:
        if self.down:
            raise FrrUnavailable("bgpd is not running")
        self.batches.append(tuple(changes))
        self.model.run(())
        for line in render(changes, Instance(65000)):
            if self.breaks_after == 0:
                self.breaks_after = None
                raise FrrUnavailable("vtysh did not end within 15 s and was killed")
            if self.breaks_after is not None:
                self.breaks_after -= 1
            if self.refuse(line):
                raise FrrRefused(f"% refused: {line}")
            try:
                self.model.line(line)
            except Refused as error:
                raise FrrRefused(str(error)) from error


class FakeNhrpd:
    """Implements ``Nhrpd``. ``cache``: the bound addresses, ``None`` while nhrpd is down.

    ``unread``: the IP versions whose table cannot be read. ``unreadable``: such rows of the IPv4 table.
    """

    def __init__(self, *bound: Address) -> None:
        self.cache: frozenset[Address] | None = frozenset(bound)
        self.unread: set[int] = set()
        self.unreadable: list[str] = []

    async def bindings(self, version: int, skip: Callable[[str], None]) -> Sequence[BindingRequest]:
        if self.cache is None:
            raise NhrpdUnavailable("nhrpd is not running")
        if version in self.unread:
            raise NhrpdUnavailable(f"the IPv{version} table is unreadable")
        for row in self.unreadable if version == 4 else ():
            skip(row)
        return [
            BindingRequest("gre1", BindingType.DYNAMIC, address, NBMA, None)
            for address in self.cache
            if address.version == version
        ]


class MemoryStore:
    """Implements ``PeerStore`` in memory; survives a restart of the node in a test."""

    def __init__(self) -> None:
        self.rows: dict[Address, BindingRequest] = {}

    def load(self) -> Iterable[BindingRequest]:
        return list(self.rows.values())

    def save(self, request: BindingRequest) -> None:
        self.rows.pop(request.protocol_address, None)
        self.rows[request.protocol_address] = request

    def remove(self, address: Address) -> None:
        self.rows.pop(address, None)
