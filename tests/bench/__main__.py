"""``python -m bench`` with ``tests`` on the path: every figure, one table each."""

from bench import bgp, bridge, certificates, decisions, memory, sas

for part in (certificates, decisions, memory, sas, bridge, bgp):
    part.main()
    print()
