"""Spans of time and amounts of data in a few characters."""

from datetime import datetime

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def short_span(moment: str | None, now: datetime, sign: int = -1) -> str:
    """Return the time since (``sign`` -1) or until (1) a moment in ISO 8601: ``3d4h``, ``2h5m``, ``1m7s``.

    It is negative if the moment is on the other side, and ``-`` without a moment.
    """
    if moment is None:
        return "-"
    seconds = round(sign * (datetime.fromisoformat(moment) - now).total_seconds())
    minus, seconds = ("-" if seconds < 0 else ""), abs(seconds)
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{minus}{days}d{hours}h"
    if hours:
        return f"{minus}{hours}h{minutes}m"
    return f"{minus}{minutes}m{seconds % 60}s"


def counted(number: int, noun: str) -> str:
    """Return a number with a noun: ``1 peer``, ``2 peers``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def size(count: float) -> str:
    """Return a number of bytes with its unit, with three digits."""
    for unit in _UNITS[:-1]:
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} {_UNITS[-1]}"
