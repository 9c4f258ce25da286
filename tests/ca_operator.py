"""An operator of the CA among several, in a process of its own."""

from collections import Counter
from ipaddress import ip_network

from dmvpn_agent.ca import database as database_module
from dmvpn_agent.ca.database import Database
from dmvpn_agent.ca.errors import CaError
from dmvpn_agent.ca.sites import NewSite, add_node, add_site


def add_in_a_race(place: str, number: int, times: int, locked: bool) -> Counter[str]:
    """Add sites, nodes and prefixes as fast as possible; return what succeeded."""
    if not locked:
        database_module._ADVISORY_LOCK += number + 1  # so nobody waits for anybody
    database, done = Database(place), Counter[str]()
    for turn in range(times):
        wanted = ip_network((0x0A400000 + turn * 256, 24))  # the same for all operators: one of them gets it
        name = f"S{number}-{turn}"
        while True:
            try:
                with database.writing() as connection:
                    add_site(connection, NewSite(name, lengths=((4, 24 + turn % 5),)), None)
                    add_node(connection, name)
            except CaError:  # another operator was faster
                if locked:
                    raise
                done["again"] += 1
            else:
                done["added"] += 1
                break
        try:
            with database.writing() as connection:
                add_site(connection, NewSite(f"P{number}-{turn}", (wanted,)), None)
        except CaError:
            done["refused"] += 1
        else:
            done[str(wanted)] += 1
    return done
