"""Functions to call when something has happened."""

from collections.abc import Callable
from typing import Generic, ParamSpec

P = ParamSpec("P")


class Callbacks(Generic[P]):
    """Calls the functions added to it, in the order in which they were added.

    What reports an event is often made before what acts on it. The first is given the ``Callbacks``, the second adds
    itself later.
    """

    def __init__(self) -> None:
        self._functions: list[Callable[P, object]] = []

    def add(self, function: Callable[P, object]) -> None:
        """Call a function too from now on."""
        self._functions.append(function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Call them."""
        for function in self._functions:
            function(*args, **kwargs)
