"""One rule applied to one value: what the Judge evaluates, and what ``explain`` prints."""

from collections.abc import Iterable
from typing import NamedTuple

from dmvpn_agent.policy.reasons import Reason


class Check(NamedTuple):
    """One rule applied to one value. If it did not pass, it denies with ``reason``.

    ``field`` is the place of the value (``OU GRE``). ``value`` is the value; the rule requires ``condition`` followed
    by ``operand``. They become text only in ``found`` and ``expected``, because a decision takes dozens of checks and
    few are ever printed.
    """

    reason: Reason
    passed: bool
    field: str
    value: object
    condition: str
    operand: object = ""

    @property
    def found(self) -> str:
        """Return the value as text."""
        return str(self.value)

    @property
    def expected(self) -> str:
        """Return what the rule requires, as text."""
        return f"{self.condition}{self.operand}"


class OrList(NamedTuple):
    """Values of which a rule accepts any one; as text ``a, b or c``."""

    items: Iterable[object]

    def __str__(self) -> str:
        *others, last = map(str, self.items) if self.items else ("(none is allowed)",)
        return f"{', '.join(others)} or {last}" if others else last


class CommaList(NamedTuple):
    """Values found together; as text ``a, b, c``."""

    items: Iterable[object]

    def __str__(self) -> str:
        return ", ".join(map(str, self.items)) or "none"
