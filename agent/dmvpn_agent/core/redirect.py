"""The redirect rule: which packets through the hub make nhrpd send an NHRP Traffic Indication.

nhrpd (``nhrp nflog-group N``, ``ip nhrp redirect``) reads packets from an NFLOG group; a packet that entered and
left through the tunnel interface could have gone direct. A few per pair of networks are enough.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RedirectRule:
    """What is to be logged to nhrpd.

    Of each pair of source and destination network, as long as ``source_prefix_length`` and
    ``destination_prefix_length``, at most ``rate_per_minute`` packets (``burst`` at once) that enter and leave
    through the same one of ``interfaces`` go to the NFLOG group, cut to ``snaplen`` bytes. What enters through one
    and leaves through another has no shortcut: these are two DMVPNs.
    """

    interfaces: tuple[str, ...]
    nflog_group: int
    source_prefix_length: int
    destination_prefix_length: int
    rate_per_minute: int
    burst: int
    snaplen: int = 128
