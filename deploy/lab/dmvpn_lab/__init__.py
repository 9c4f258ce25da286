"""The lab: DMVPN nodes on one machine, each with the real daemons in namespaces of its own."""

from pathlib import Path

#: The checkout that the lab belongs to.
CHECKOUT = Path(__file__).parents[3]
