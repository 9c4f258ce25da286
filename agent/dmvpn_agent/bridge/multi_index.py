"""An index from a key to several numbers."""

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class MultiIndex(Generic[K]):
    """Numbers by key, in the order in which they were added; ``shared``: the keys that have several."""

    def __init__(self) -> None:
        self.shared: set[K] = set()
        self._numbers: dict[K, tuple[int, ...]] = {}

    def of(self, key: K) -> tuple[int, ...]:
        """Return the numbers of a key."""
        return self._numbers.get(key, ())

    def add(self, key: K, number: int) -> None:
        """Add a number; one that the key has already becomes its last."""
        self.remove(key, number)
        self._set(key, (*self.of(key), number))

    def remove(self, key: K, number: int) -> None:
        """Remove a number, if the key has it."""
        self._set(key, tuple(other for other in self.of(key) if other != number))

    def _set(self, key: K, numbers: tuple[int, ...]) -> None:
        if numbers:
            self._numbers[key] = numbers
        else:
            self._numbers.pop(key, None)
        if len(numbers) > 1:
            self.shared.add(key)
        else:
            self.shared.discard(key)
