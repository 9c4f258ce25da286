"""The hubs that nhrpd registers with, read by FRR's command line, and the tunnels' own NBMA addresses.

If two hubs register with each other, nhrpd refuses the later registration ("administratively prohibited"): the hub
has a binding of type ``nhs``, which one of type ``dynamic`` cannot replace. The refused node is never registered then
and need not be: the other hub's registration has made the binding.
"""

from collections.abc import Callable, Collection, Sequence

from dmvpn_agent.addresses import Address
from dmvpn_agent.enforcement.hub_sas import HubsUnknown
from dmvpn_agent.enforcement.hub_state import Hub
from dmvpn_agent.frr.nhs_table import NHS_COMMANDS, parse_nhs_table
from dmvpn_agent.frr.show_json import FrrFormatError
from dmvpn_agent.frr.terminal import Terminal, TerminalError
from dmvpn_agent.kernel.netlink import KernelWatch
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.runtime.unreadable import ItemSource, Unreadable


class FrrHubs:
    """The hubs on the tunnel interfaces.

    ``has_registered``: whether the peer at an NBMA address has registered with this node, and is bound.
    """

    def __init__(
        self,
        reader: Terminal,
        interfaces: Collection[str],
        kernel: KernelWatch,
        telemetry: Telemetry,
        has_registered: Callable[[str, Address], bool],
    ) -> None:
        self._reader = reader
        self._interfaces = interfaces
        self._kernel = kernel
        self._has_registered = has_registered
        self._unreadable = Unreadable(telemetry)

    async def read(self) -> Sequence[Hub]:
        """Return them. A hub with protocol addresses of both IP versions is registered if it is for each.

        Raises ``HubsUnknown``.
        """
        registered: dict[tuple[str, Address], bool] = {}
        names: dict[tuple[str, Address], str] = {}
        for version, command in NHS_COMMANDS.items():
            try:
                reply = await self._reader.run("nhrpd", (command,))
                rows = parse_nhs_table(reply.text, self._skip, version)
            except TerminalError as error:
                raise HubsUnknown(str(error)) from error
            except FrrFormatError as error:
                raise HubsUnknown(f"{error}; FRR said: {reply.last_output()}") from error
            for row in rows:
                if row.nbma_address is not None and row.interface in self._interfaces:
                    key = row.interface, row.nbma_address
                    names[key] = row.name
                    registered[key] = registered.get(key, True) and row.protocol_address is not None
        return [
            Hub(*key, registered=one or self._has_registered(*key), name=names[key])
            for key, one in registered.items()
        ]

    def local_address(self, interface: str) -> Address | None:
        """Return a tunnel's own NBMA address, if an interface has it: its local address, or its underlay's first."""
        link = self._kernel.links.get(interface)
        if link is None or not link.up:
            return None
        if link.local is not None:
            return link.local if self._kernel.has_address(link.local) else None
        first = self._kernel.first_address(link.underlay)
        return first.ip if first else None

    def is_gone(self, address: Address) -> bool:
        """Tell whether this node's interfaces are known, and none has this address."""
        return bool(self._kernel.links) and not self._kernel.has_address(address)

    def _skip(self, why: str) -> None:
        self._unreadable.skip(ItemSource.NHRP_CACHE, why, why)
