"""Finds out which firewall is in charge: firewalld if it runs, awall if it has policies."""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from dmvpn_agent.setup.machine import Machine, MachineError, found
from dmvpn_agent.setup.paths import AWALL, OWN_ZONE
from dmvpn_agent.setup.system import Firewall, FirewallBy

_ZONE = re.compile(r"[A-Za-z0-9_-]{1,17}")
#: Where awall's policies are in force.
_POLICIES = Path(AWALL).parent


async def find_firewall(machine: Machine) -> Firewall:
    """Return the firewall that is in charge."""
    if Path(found("firewall-cmd")).is_absolute():
        with suppress(MachineError):
            if (await machine.run(("firewall-cmd", "--state"))).status == 0:
                return await _firewalld(machine)
    if Path(found("awall")).is_absolute() and any(str(one) != AWALL for one in _POLICIES.glob("*.json")):
        return Firewall(FirewallBy.AWALL)
    return Firewall()


async def _firewalld(machine: Machine) -> Firewall:
    zones = dict(zones_of(await machine.must(("firewall-cmd", "--get-active-zones"))))
    of_tunnel = zones.get("gre1", "")
    return Firewall(FirewallBy.FIREWALLD, zones, "" if of_tunnel == OWN_ZONE else of_tunnel)


def zones_of(printed: str) -> Iterator[tuple[str, str]]:
    """Yield interface and zone, from what ``firewall-cmd --get-active-zones`` prints."""
    zone = ""
    for line in printed.splitlines():
        if not line.startswith(" "):
            zone = line.split(" ")[0].strip()
        elif line.strip().startswith("interfaces:") and _ZONE.fullmatch(zone):
            for interface in line.split(":", 1)[1].split():
                yield interface, zone
