"""Input of ``nft -f -``: the whole table, or changes of the elements of its sets.

The table is the agent's own, so that one transaction replaces it without touching the operator's rules. The script is
text, because nft 1.0.6 does not read the ``dynamic`` flag from JSON.
"""

from collections.abc import Iterable

from dmvpn_agent.kernel.nftables.section import Elements, Section

TABLE = "inet dmvpn_agent"
#: How many elements one command has: nft's messages quote a whole command.
_COMMAND_ELEMENTS = 500


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
            *(add(section.elements) for section in sections),
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


def add(elements: Elements) -> str:
    """Return the commands that add elements."""
    return _each("add", elements)


def delete(elements: Elements) -> str:
    """Return the commands that delete elements; each must be there."""
    return _each("delete", elements)


def _each(verb: str, elements: Elements) -> str:
    commands = []
    for name, members in sorted(elements.items()):
        ordered = sorted(members)
        for start in range(0, len(ordered), _COMMAND_ELEMENTS):
            part = ", ".join(ordered[start : start + _COMMAND_ELEMENTS])
            commands.append(f"{verb} element {TABLE} {name} {{ {part} }}\n")
    return "".join(commands)
