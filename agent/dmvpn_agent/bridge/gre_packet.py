"""Makes the kernel request an SA to one peer from charon, by sending the peer a GRE packet.

With a wildcard trap policy (``remote_addrs = %any``, ``start_action = trap``) the kernel holds the packet and sends
charon an acquire for exactly its addresses. The packet is of type NHRP (RFC 2332) and empty: if it arrives, the peer
drops it.
"""

import errno
import socket

from dmvpn_agent.addresses import Address
from dmvpn_agent.bridge.acquire import AcquireFailed

IPPROTO_GRE = 47
#: linux/in.h
_IP_FREEBIND = 15
#: RFC 2784: no flags, version 0; protocol type 0x2001, NHRP.
PACKET = b"\x00\x00\x20\x01"


def send_acquire_packet(local: Address, remote: Address) -> None:
    """Send one GRE packet from ``local`` to ``remote``. Raises ``AcquireFailed``."""
    family = socket.AF_INET if local.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, IPPROTO_GRE) as raw:
            if local.version == 4:
                # With the uplink in a VRF the address is local there only. Sending still needs it to be this node's.
                raw.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
            raw.bind((str(local), 0))
            raw.sendto(PACKET, (str(remote), 0))
    except PermissionError as error:
        raise AcquireFailed("a raw socket needs CAP_NET_RAW; give it to the bridge's service") from error
    except OSError as error:
        # These two mean that the kernel holds the packet until there is an SA.
        if error.errno not in {errno.EAGAIN, errno.ESRCH}:
            raise AcquireFailed(f"{local} to {remote}: {error.strerror}") from error
