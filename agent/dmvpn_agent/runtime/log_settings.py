"""The operator's ``[log]``."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Log:
    """``level`` as Python's logging names it, in lower case; ``format`` is ``json`` or ``console``."""

    level: str
    format: str
