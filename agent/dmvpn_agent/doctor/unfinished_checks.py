"""Checks of what a node by hand may still lack."""

from collections.abc import Iterator, Mapping

from dmvpn_agent.doctor.check import Check, Level
from dmvpn_agent.doctor.node import Unknown


def placeholder_checks(left: tuple[str, ...] | Unknown) -> Iterator[Check]:
    """Yield a fault for each placeholder in a file; none for files that cannot be read, which others report."""
    for one in () if isinstance(left, Unknown) else left:
        yield Check("placeholder", Level.FAULT, one, "a value of this node", "fill it in, as docs/by-hand.md, step 2,"
                    " explains; then restart what reads the file")  # fmt: skip


def hub_name_checks(unresolved: Mapping[str, str] | Unknown) -> Iterator[Check]:
    """Yield the hubs' names that nhrpd has not resolved; without nhrpd none, which another check reports."""
    for name, why in {} if isinstance(unresolved, Unknown) else unresolved.items():
        if why:
            yield Check(f"hub {name}", Level.FAULT, f"its name cannot be resolved: {why}", "an IPv4 address in DNS",
                        "correct the name in frr.conf (ip nhrp nhs … nbma NAME), the name server in /etc/resolv.conf,"
                        " or the zone")  # fmt: skip
        else:
            yield Check(f"hub {name}", Level.WARNING, "nhrpd has not resolved its name yet; this machine can",
                        "an NBMA address", "wait until nhrpd tries again; if it stays, restart FRR: nhrpd reads"
                        " /etc/resolv.conf at its start")  # fmt: skip


def mutual_hub_checks(mutual: tuple[str, ...] | Unknown) -> Iterator[Check]:
    """Yield the hubs of which nhrpd refuses one registration; without nhrpd none, which another check reports."""
    for address in () if isinstance(mutual, Unknown) else mutual:
        yield Check(f"hub {address}", Level.FAULT, "it registers with this hub, and this one with it: nhrpd refuses"
                    " one of them, and ends the IKE_SA every one to two minutes", "only one of the two registers",
                    "remove the line `ip nhrp nhs` of the other one on the hub with the lower protocol address, as"
                    " docs/several-hubs.md explains")  # fmt: skip
