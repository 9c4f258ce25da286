"""Why ``setup`` does nothing: each reason with what was found, what was expected, and what to do."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Refusal:
    """One thing that is wrong."""

    what: str
    found: str
    expected: str
    do: str

    def __str__(self) -> str:
        return f"{self.what}: {self.found}; expected {self.expected}; {self.do}"


class Refused(Exception):
    """Something is wrong, and nothing was changed."""

    def __init__(self, *refusals: Refusal) -> None:
        super().__init__("; ".join(map(str, refusals)))
        self.refusals = refusals
