"""Input of ``nft -f -``: the whole table, or changes of the elements of its sets.

The table is the agent's own, so that one transaction replaces it without touching the operator's rules. The script is
text, because nft 1.0.6 does not read the ``dynamic`` flag from JSON.
"""

from collections.abc import Iterable, Mapping
from ipaddress import ip_address

from dmvpn_agent.kernel.nftables.section import Elements, Section

TABLE = "inet dmvpn_agent"
#: How many elements one command has: nft's messages quote a whole command.
_COMMAND_ELEMENTS = 500
_BETWEEN = " . "

#: Objects by the order in which they can be deleted; chains refer to the others.
_KINDS = ("chain", "set", "map", "counter")


def render(sections: Iterable[Section]) -> str:
    """Return the script that replaces the agent's table in one transaction.

    The script adds the table before it deletes it, because deleting a table that does not exist fails.
    """
    sections = tuple(sections)
    return "".join(
        (
            f"table {TABLE}\ndelete table {TABLE}\n",
            _declared(sections),
            add(*_merged(sections)),
            *(section.late for section in sections),
        )
    )


def replace_rules(sections: Iterable[Section], present: Iterable[str], elements: str) -> str:
    """Return the script that replaces all rules and keeps the sets that are declared again.

    ``present``: the objects in the table, as ``chain input`` or ``ct helper ftp``; ``elements``: the commands that
    change the elements.
    """
    sections = tuple(sections)
    obsolete = sorted(
        (one.rsplit(" ", 1) for one in set(present).difference(*(section.objects for section in sections))),
        key=lambda one: ([kind == one[0] for kind in _KINDS], one),
        reverse=True,
    )
    return "".join(
        (
            f"flush table {TABLE}\n",
            *(f"delete {kind} {TABLE} {name}\n" for kind, name in obsolete),
            _declared(sections),
            elements,
            *(section.late for section in sections),
        )
    )


def _declared(sections: Iterable[Section]) -> str:
    return f"table {TABLE} {{\n{''.join(section.body for section in sections)}}}\n"


def add(elements: Elements, sets: Mapping[str, str]) -> str:
    """Return the block that adds elements; ``sets``: the declarations by name (``Section.sets``).

    The sets are declared again, and keep what they have. For the command ``add element`` nft 1.0.6 and 1.1.3 read all
    interval sets of the kernel first, also those of other programs: 3 s of a processor for 200,000 elements.
    """
    blocks = (f"{sets[name]}    elements = {{\n{_lines(members)} }}\n  }}\n"
              for name, members in sorted(elements.items()) if members)  # fmt: skip
    return f"table {TABLE} {{\n{body}}}\n" if (body := "".join(blocks)) else ""


def delete(elements: Elements) -> str:
    """Return the commands that delete elements; each must be there. nft reads interval sets first, as in ``add``."""
    commands = []
    for name, members in sorted(elements.items()):
        ordered = sorted(map(_with_length, members))
        for start in range(0, len(ordered), _COMMAND_ELEMENTS):
            part = ", ".join(ordered[start : start + _COMMAND_ELEMENTS])
            commands.append(f"delete element {TABLE} {name} {{ {part} }}\n")
    return "".join(commands)


def refill(elements: Elements, sets: Mapping[str, str]) -> str:
    """Return the commands that replace all elements of sets. What the former ones have counted is gone.

    nft reads nothing for that, but it takes the kernel long: 1.6 s for an interval set of 6,000 elements.
    """
    flushes = (f"flush {sets[name].split()[0]} {TABLE} {name}\n" for name in sorted(elements))
    return "".join(flushes) + add(elements, sets)


def _merged(sections: Iterable[Section]) -> tuple[Elements, Mapping[str, str]]:
    elements = {name: members for section in sections for name, members in section.elements.items()}
    return elements, {name: text for section in sections for name, text in section.sets.items()}


def _lines(members: Iterable[str]) -> str:
    """Return elements, each on a line of its own: nft's messages quote the line."""
    return ",\n".join(f"      {member}" for member in sorted(members))


def _with_length(text: str) -> str:
    """Return an element, its address with a length if it has several parts.

    If no element of a command has one, nft 1.0.6 does not find them in a set of concatenated intervals.
    """
    first, between, last = text.rpartition(_BETWEEN)
    if not between or "/" in last or "-" in last:
        return text
    return f"{first}{between}{last}/{ip_address(last).max_prefixlen}"
