"""Python's search for garbage in a process that keeps many objects for long."""

import gc

#: New containers until the youngest generation is searched. Python's 700 are for short programs: to join a thousand
#: peers makes 20,000, none of them garbage.
THRESHOLD = 10_000


def spare_present_objects() -> None:
    """Search the objects that exist now never again: that blocks the event loop for 20 ms, often under load."""
    gc.freeze()


def search_seldom() -> None:
    """Search after ``THRESHOLD`` new containers: for the agent. The bridge would hold 1,000 bytes more an SA."""
    gc.set_threshold(THRESHOLD, *gc.get_threshold()[1:])
