"""FRR's configuration as it was written and as FRR shows it: vtysh's status does not tell what was dropped."""

from dmvpn_agent.setup.frr_text import lines


def lacking(wanted: str, running: str) -> list[str]:
    """Return the lines of a configuration that ``show running-config`` does not have, each with its section.

    FRR up to 10 has a daemon drop a line without a word: ``vtysh -b`` ends with status 0 all the same.
    """
    shown = set(lines(running))
    return [" / ".join(line) for line in lines(wanted) if line not in shown]
