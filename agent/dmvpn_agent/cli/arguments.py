"""Arguments that several commands have."""

import re
from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TypeVar

from dmvpn_agent.addresses import Address

T = TypeVar("T")
_SPAN = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def typed(read: Callable[[str], T], expected: str) -> Callable[[str], T]:
    """Return the type of an argument: what ``read`` makes of it, or an error that says what is expected."""

    def convert(text: str) -> T:
        try:
            return read(text)
        except ValueError:
            raise ArgumentTypeError(f"{text!r:.60} is not {expected}") from None

    return convert


def add_json(parser: ArgumentParser) -> None:
    """Add ``--json`` to the parser of an action: what stands before the action's name stays."""
    parser.add_argument("--json", action="store_true", default=SUPPRESS, help="print one JSON document, errors too")


def add_peer(parser: ArgumentParser, *, optional: bool = False) -> None:
    """Add the argument that names a peer."""
    parser.add_argument(
        "peer", nargs="?" if optional else None, metavar="PEER",
        help="a peer's name, address, or certificate (subject, IKE identity or SHA-256 fingerprint)",
    )  # fmt: skip


def address(text: str) -> Address:
    """Return an IP address. Raises ``ArgumentTypeError``."""
    try:
        return ip_address(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no IP address") from None


def moment(text: str) -> datetime:
    """Return a time in ISO 8601, in UTC if it has no offset. Raises ``ArgumentTypeError``."""
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ArgumentTypeError(f"{text!r} is no time; expected ISO 8601, as 2026-03-01T12:00") from None


def since(text: str) -> datetime:
    """Return a time, or one a span ago: ``2h``, ``3d``. Raises ``ArgumentTypeError``."""
    if (found := re.fullmatch(r"([0-9]{1,6})([smhdw])", text)) is not None:
        return datetime.now(UTC) - timedelta(seconds=int(found[1]) * _SPAN[found[2]])
    try:
        return moment(text)
    except ArgumentTypeError:
        raise ArgumentTypeError(f"{text!r} is no time; expected a span, as 2h or 3d, or ISO 8601") from None
