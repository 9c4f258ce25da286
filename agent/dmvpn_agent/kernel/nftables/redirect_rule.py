"""The redirect rule: for which packets through the hub nhrpd sends an NHRP Traffic Indication.

nhrpd (``nhrp nflog-group N``, ``ip nhrp redirect``) reads packets from an NFLOG group. For a packet that enters and
leaves through the tunnel interface the spokes can have a shortcut. A few packets per pair of networks are enough.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from dmvpn_agent.kernel.nftables.section import RECEIVED_IN_VRF, Section, SectionName

#: The counter of the packets that were logged.
COUNTER = "redirected"
#: nhrpd gets each packet at once. Otherwise the kernel collects 100 packets, or those of a second.
AT_ONCE = "queue-threshold 1"
#: How many pairs of networks have a limit of their own at the same time. nft reads all of them whenever it lists the
#: table (1.0.6: 65,535 take a second or more), and nhrpd gets a packet of each.
MAX_PAIRS = 4096
#: How many packets a second of further pairs are logged: one peer can make up any number of pairs.
FURTHER_PAIRS = 100


@dataclass(frozen=True, slots=True)
class RedirectRule:
    """Which packets go to the NFLOG group: those that enter and leave through the same one of ``interfaces``.

    At most ``rate_per_minute`` packets, ``burst`` of them at once, for each pair of source and destination network,
    cut to ``snaplen`` bytes. The prefix lengths say how large these networks are. While there are more than
    ``MAX_PAIRS``, the others share ``FURTHER_PAIRS`` packets a second. Between two interfaces, that is two DMVPNs,
    there is no shortcut.
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
    size {MAX_PAIRS}
    flags dynamic,timeout
    timeout 1m
  }}
  set redirected6 {{
    type ipv6_addr . ipv6_addr
    size {MAX_PAIRS}
    flags dynamic,timeout
    timeout 1m
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
{rules}
  }}
""",
        )

    def _statements(self) -> Iterator[str]:
        """Yield the statements that log IPv4 and IPv6 packets for which a shortcut is possible."""
        log = f'counter name "{COUNTER}" log group {self.nflog_group} snaplen {self.snaplen} {AT_ONCE}'
        source, destination = (
            IPv4Network((0, length)).netmask for length in (self.source_prefix_length, self.destination_prefix_length)
        )
        source6, destination6 = (
            IPv6Network((0, length)).netmask
            for length in (self.source_prefix_length_ipv6, self.destination_prefix_length_ipv6)
        )
        limit = f"limit rate {self.rate_per_minute}/minute burst {self.burst} packets"
        for pairs, pair in (
            ("@redirected", f"ip saddr & {source} . ip daddr & {destination}"),
            ("@redirected6", f"ip6 saddr & {source6} . ip6 daddr & {destination6}"),
        ):
            yield f"update {pairs} {{ {pair} {limit} }} {log}"
            yield f"{pair} != {pairs} limit rate {FURTHER_PAIRS}/second burst {FURTHER_PAIRS} packets {log}"
