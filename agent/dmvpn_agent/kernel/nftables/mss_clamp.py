"""The MSS clamp: TCP connections through the tunnel send no segments that do not fit into it.

Where a firewall drops ICMP «fragmentation needed», a TCP connection with larger segments stands still. ``rt mtu`` is
the smaller one of the MTUs of the packet's route and of the route back, so that a rule holds for both directions. The
kernel only lowers the option (net/netfilter/nft_exthdr.c), and it knows the MTUs that ICMP has reported to it.
"""

from dmvpn_agent.kernel.nftables.section import RECEIVED_IN_VRF, Section, SectionName

#: The counter of the packets that begin a connection through a tunnel.
COUNTER = "clamped"


def mss_section(interfaces: tuple[str, ...]) -> Section:
    """Return the clamp for these tunnels as a section of the table."""
    names = ", ".join(f'"{name}"' for name in interfaces)
    rules = "".join(
        f"    {direction} {{ {names} }} tcp flags & (syn | rst) == syn counter name {COUNTER}"
        " tcp option maxseg size set rt mtu return\n"
        for direction in ("iifname", RECEIVED_IN_VRF, "oifname")
    )
    return Section(
        SectionName.MSS,
        f"""\
  counter {COUNTER} {{
  }}
  chain clamp_mss {{
    type filter hook forward priority mangle; policy accept;
{rules}  }}
""",
    )
