"""The redirect rule: for which packets through the hub nhrpd sends an NHRP Traffic Indication.

nhrpd (``nhrp nflog-group N``, ``ip nhrp redirect``) reads packets from an NFLOG group. For a packet that enters and
leaves through the tunnel interface the spokes can have a shortcut. A few packets per pair of networks are enough.
"""

from dataclasses import dataclass


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
