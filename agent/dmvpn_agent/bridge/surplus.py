"""Which of several IKE_SAs with one peer is one too many.

Two nodes that start towards each other at the same moment end with two IKE_SAs. Both work, and charon would keep and
rekey them for ever. Both ends see the same SPIs, so both come to the same conclusion without a word: the IKE_SA with
the lowest initiator SPI stays, and whoever began another one ends it.
"""

from collections import defaultdict
from collections.abc import Iterable

from dmvpn_agent.charon.sa import IkeSa


def surplus(sas: Iterable[IkeSa]) -> list[tuple[IkeSa, IkeSa]]:
    """Return the IKE_SAs with an installed CHILD_SA that stand beside a better one with the same peer, and that one.

    The same peer: the same connection, addresses, remote port and identities. Behind one NAT address ports differ.
    """
    by_peer: dict[object, list[IkeSa]] = defaultdict(list)
    for sa in sas:
        if sa.established and any(child.installed for child in sa.children):
            key = (sa.name, sa.local_host, sa.remote_host, sa.remote_port, sa.local_id, sa.remote_id)
            by_peer[key].append(sa)
    ordered = (
        sorted(several, key=lambda one: (one.initiator_spi, one.responder_spi)) for several in by_peer.values()
    )
    return [(sa, best) for best, *others in ordered for sa in others]
