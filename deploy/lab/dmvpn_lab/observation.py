"""What came of looking at a lab."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Observation:
    """Whether it is true, and what shows it; the evidence can be written as JSON."""

    true: bool
    evidence: Any
