"""The redirect rule: for which packets through the hub nhrpd sends an NHRP Traffic Indication.

nhrpd (``nhrp nflog-group N``, ``ip nhrp redirect``) reads packets from an NFLOG group. For a packet that enters and
leaves through the tunnel interface the spokes can have a shortcut. A few packets per pair of networks are enough.
"""

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from dmvpn_agent.kernel.nftables.section import RECEIVED_IN_VRF, Section, SectionName

#: The counter of the packets that were logged.
COUNTER = "redirected"
#: nhrpd gets each packet at once. Otherwise the kernel collects 100 packets, or those of a second.
AT_ONCE = "queue-threshold 1"


@dataclass(frozen=True, slots=True)
class RedirectRule:
    """Which packets go to the NFLOG group: those that enter and leave through the same one of ``interfaces``.

    At most ``rate_per_minute`` packets, ``burst`` of them at once, for each pair of source and destination network,
    cut to ``snaplen`` bytes. The prefix lengths say how large these networks are. Between two interfaces, that is two
    DMVPNs, there is no shortcut.
    """

    interfaces: tuple[str, ...]
    nflog_group: int
    source_prefix_length: int
    destination_prefix_length: int
    rate_per_minute: int
    burst: int
    source_prefix_length_ipv6: int = 64
    destination_prefix_length_ipv6: int = 64
    snaplen: int = 128

    def section(self) -> Section:
        """Return the rule as a section of the table."""
        rules = "\n".join(
            f'    {received} "{name}" oifname "{name}" {statements}'
            for name in self.interfaces
            for received in ("iifname", RECEIVED_IN_VRF)
            for statements in self._statements()
        )
        return Section(
            SectionName.REDIRECT,
            f"""\
  counter {COUNTER} {{
  }}
  set redirected {{
    type ipv4_addr . ipv4_addr
    size 65535
    flags dynamic,timeout
    timeout 1m
  }}
  set redirected6 {{
    type ipv6_addr . ipv6_addr
    size 65535
    flags dynamic,timeout
    timeout 1m
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
{rules}
  }}
""",
        )

    def _statements(self) -> tuple[str, str]:
        """Return the statements that log IPv4 and IPv6 packets for which a shortcut is possible."""
        limit = f"limit rate {self.rate_per_minute}/minute burst {self.burst} packets"
        log = f'counter name "{COUNTER}" log group {self.nflog_group} snaplen {self.snaplen} {AT_ONCE}'
        source, destination = (
            IPv4Network((0, length)).netmask for length in (self.source_prefix_length, self.destination_prefix_length)
        )
        source6, destination6 = (
            IPv6Network((0, length)).netmask
            for length in (self.source_prefix_length_ipv6, self.destination_prefix_length_ipv6)
        )
        return (
            f"update @redirected {{ ip saddr & {source} . ip daddr & {destination} {limit} }} {log}",
            f"update @redirected6 {{ ip6 saddr & {source6} . ip6 daddr & {destination6} {limit} }} {log}",
        )
