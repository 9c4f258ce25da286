"""Functions to call when something has happened."""

from dmvpn_agent.runtime.callbacks import Callbacks


def test_all_functions_are_called_in_the_order_in_which_they_were_added() -> None:
    """Each added function gets the arguments of a call; before the first is added, a call does nothing."""
    called: list[tuple[str, int]] = []
    callbacks = Callbacks[[int]]()
    callbacks(1)
    callbacks.add(lambda number: called.append(("first", number)))
    callbacks.add(lambda number: called.append(("second", number)))
    callbacks(2)
    assert called == [("first", 2), ("second", 2)]
