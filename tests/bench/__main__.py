"""``python -m bench`` with ``tests`` on the path: every figure, one table each."""

from bench import bgp, bridge, certificates, decisions, memory

for part in (certificates, decisions, memory, bgp, bridge):
    part.main()
    print()
