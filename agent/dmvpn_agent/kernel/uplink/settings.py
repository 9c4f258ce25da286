"""What the operator sets about uplinks: ``[uplink]``."""

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address
from typing import Final, Literal

#: The gateway is that of the default route which a DHCP client or another program has given the interface.
AUTO: Final = "auto"


class ProbeProtocol(StrEnum):
    """How a target is asked."""

    #: An echo request.
    ICMP = "icmp"
    #: A connection: that it is accepted or refused is an answer.
    TCP = "tcp"
    #: A datagram: a datagram or "port unreachable" is an answer.
    UDP = "udp"


@dataclass(frozen=True, slots=True)
class Target:
    """A host that answers where an uplink works; ``port`` is 0 for ICMP."""

    address: IPv4Address
    protocol: ProbeProtocol = ProbeProtocol.ICMP
    port: int = 0

    def __str__(self) -> str:
        return (
            str(self.address)
            if self.protocol is ProbeProtocol.ICMP
            else f"{self.protocol}:{self.address}:{self.port}"
        )


@dataclass(frozen=True, slots=True)
class Uplink:
    """An interface towards the internet. ``gateway``: the agent gives it routes of its own, ``None`` to leave that.

    With ``AUTO`` the gateway is taken from the interface's default route in the main table. ``targets``: one that
    answers is enough; without any, an address and a carrier are.
    """

    interface: str
    gateway: IPv4Address | Literal["auto"] | None = None
    targets: tuple[Target, ...] = ()


@dataclass(frozen=True, slots=True)
class UplinkSettings:
    """``uplinks`` are in the order of preference; ``tunnels`` use the chosen one.

    An uplink fails with ``fall`` unanswered rounds of probes in a row, and works again with ``rise`` answered ones.
    ``interval`` and ``timeout`` of a round are in seconds. ``table``: the number of the first uplink's routing table;
    the others have the numbers after it. ``priority``: that of the rules that lead to them.
    """

    tunnels: tuple[str, ...]
    uplinks: tuple[Uplink, ...]
    interval: float = 1.0
    timeout: float = 1.0
    fall: int = 3
    rise: int = 5
    table: int = 7700
    priority: int = 7700
