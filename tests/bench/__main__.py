"""``python -m bench`` with ``tests`` on the path: every figure, one table each."""

from bench import (
    bgp,
    bridge,
    certificates,
    crls,
    decisions,
    forwarding,
    memory,
    nftables,
    page,
    sas,
    scrape,
    stretches,
)

for part in (certificates, crls, decisions, memory, sas, bridge, bgp, nftables, stretches, scrape, page, forwarding):
    part.main()
    print()
