"""Which of several IKE_SAs with one peer are duplicates.

If two nodes start towards each other at the same moment, they have two IKE_SAs afterwards. Both work, and charon
would keep and rekey them for ever. Both nodes see the same SPIs, so both come to the same conclusion without a
message: the IKE_SA with the lowest initiator SPI stays, and each node ends the others that it began.
"""

from collections import defaultdict
from collections.abc import Iterable

from dmvpn_agent.charon.sa import IkeSa


def duplicates(sas: Iterable[IkeSa]) -> list[tuple[IkeSa, IkeSa]]:
    """Return each duplicate with the IKE_SA that stays; only IKE_SAs with an installed CHILD_SA count.

    IKE_SAs are with one peer if connection, addresses, remote port and identities are the same. Peers behind one NAT
    address have different ports.
    """
    by_peer: dict[object, list[IkeSa]] = defaultdict(list)
    for sa in sas:
        if sa.established and any(child.installed for child in sa.children):
            key = (sa.name, sa.local_host, sa.remote_host, sa.remote_port, sa.local_id, sa.remote_id)
            by_peer[key].append(sa)
    ordered = (
        sorted(several, key=lambda one: (one.initiator_spi, one.responder_spi)) for several in by_peer.values()
    )
    return [(sa, staying) for staying, *others in ordered for sa in others]
