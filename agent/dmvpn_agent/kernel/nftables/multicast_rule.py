"""The multicast rule: routing protocols that use multicast work over the tunnel.

A multipoint GRE interface has no multicast. nhrpd (``nhrp multicast-nflog-group N``, ``ip nhrp map multicast …``)
reads the packets from an NFLOG group and sends a copy to each peer. The original, which would be GRE to a multicast
address, is dropped.
"""

from dataclasses import dataclass

from dmvpn_agent.kernel.nftables.redirect_rule import AT_ONCE
from dmvpn_agent.kernel.nftables.section import Section, SectionName

#: The counter of the packets that were logged.
COUNTER = "multicast"
#: The addresses of routing protocols, which stay on their link (RFC 5771, 4). nhrpd copies no IPv6 over IPv4 tunnels.
GROUPS = "224.0.0.0/24"


@dataclass(frozen=True, slots=True)
class MulticastRule:
    """Packets of this node's own to multicast addresses on ``interfaces`` go to the NFLOG group."""

    interfaces: tuple[str, ...]
    nflog_group: int

    def section(self) -> Section:
        """Return the rule as a section of the table.

        UDP packets (RIP) have no valid checksum yet, because the interface would compute it: they get none at all,
        which IPv4 allows.
        """
        names = ", ".join(f'"{name}"' for name in self.interfaces)
        return Section(
            SectionName.MULTICAST,
            f"""\
  counter {COUNTER} {{
  }}
  chain copy_to_peers {{
    meta l4proto udp udp checksum set 0
    counter name {COUNTER} log group {self.nflog_group} {AT_ONCE}
    drop
  }}
  chain multicast {{
    type filter hook output priority filter; policy accept;
    oifname {{ {names} }} ip daddr {GROUPS} goto copy_to_peers
  }}
""",
        )
