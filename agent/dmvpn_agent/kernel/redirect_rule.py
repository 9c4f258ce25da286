"""The redirect rule: which packets through the hub make nhrpd send an NHRP Traffic Indication.

nhrpd (``nhrp nflog-group N``, ``ip nhrp redirect``) reads packets from an NFLOG group; a packet that entered and
left through the tunnel interface could have gone direct. A few per pair of networks are enough.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RedirectRule:
    """What is to be logged to nhrpd.

    Of each pair of source and destination network at most ``rate_per_minute`` packets (``burst`` at once) that enter
    and leave through the same one of ``interfaces`` go to the NFLOG group, cut to ``snaplen`` bytes. The networks are
    as long as ``source_prefix_length`` and ``destination_prefix_length``; IPv6 has lengths of its own. What enters
    through one interface and leaves through another has no shortcut: these are two DMVPNs.
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
