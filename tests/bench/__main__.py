"""``python -m bench`` with ``tests`` on the path: every figure, one table each."""

from bench import certificates, decisions, memory

for part in (certificates, decisions, memory):
    part.main()
    print()
