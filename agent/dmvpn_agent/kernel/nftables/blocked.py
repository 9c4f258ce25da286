"""The UDP endpoints whose packets are dropped: further peers behind one NAT address."""

from collections.abc import Mapping

from dmvpn_agent.addresses import Address
from dmvpn_agent.kernel.nftables.section import Elements, Section, SectionName

#: NBMA address and UDP port of a peer behind a NAT.
UdpEndpoint = tuple[Address, int]

#: The block of an endpoint ends by itself, so it is not among the elements that are compared.
BLOCKED = Section(
    SectionName.BLOCKED,
    """\
  set blocked {
    type ipv4_addr . inet_service
    size 4096
    flags timeout
  }
  chain input {
    type filter hook input priority filter; policy accept;
    ip saddr . udp sport @blocked drop
  }
""",
)


def elements(blocked: Mapping[UdpEndpoint, int]) -> Elements:
    """Return the elements that drop packets from endpoints, each for so many seconds."""
    return {
        "blocked": frozenset(f"{address} . {port} timeout {seconds}s" for (address, port), seconds in blocked.items())
    }


def unblock(endpoint: UdpEndpoint, table: str) -> str:
    """Return the command that stops dropping packets from an endpoint."""
    return f"delete element {table} blocked {{ {endpoint[0]} . {endpoint[1]} }}\n"
