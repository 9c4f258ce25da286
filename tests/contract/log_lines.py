"""What a daemon under test has logged."""

import json
from pathlib import Path
from typing import Any


def logged(log: Path, event: str) -> list[dict[str, Any]]:
    """The entries of an event, oldest first. A last line whose end is not written yet is left for the next look."""
    lines = log.read_text().splitlines(keepends=True) if log.exists() else []
    entries = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]
    return [entry for entry in entries if entry["event"] == event]
