"""Recorded events: one JSON object a line, each with the version of its format, so that files can be cut and joined.

``{"v": 1, "time": ISO 8601, "message": text, "ike_peers": [[identity, has certificate], …], "outcome": {…}}``, with
``"nobody": true`` if charon was asked and had no IKE_SA. After ``has certificate`` may follow whether the identity is
not proven (``IkePeer.unproven``), the identity of the certificate that was proved (``IkePeer.certificate``), and
whether that certificate was still awaited (``IkePeer.awaited``).

``message`` is what nhrpd wrote, without the empty line at its end, one character for each byte. ``ike_peers`` are the
peers that had an IKE_SA. ``outcome`` is the decision, to compare with.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any

from dmvpn_agent.addresses import Network
from dmvpn_agent.charon.ike_peer import IkePeer, ike_peer
from dmvpn_agent.policy.decision import Accept, Decision
from dmvpn_agent.policy.peer import PeerKind
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.runtime.json_values import boolean, brief, document, integer, text

VERSION = 1
#: The longest message is 16 KiB, and no byte of it takes more than six characters.
MAX_LINE_BYTES = 256 * 1024


class RecordingError(Exception):
    """A line is not a recorded event; the text says why."""


@dataclass(frozen=True, slots=True)
class Entitled:
    """The resources of an accepted peer."""

    kind: PeerKind
    as_number: int | None
    prefixes: tuple[Network, ...]
    max_prefix_length: tuple[int, int]
    quarantined: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """A decision as it is recorded.

    ``reason`` is ``None`` for an accept; ``why`` has the field, the found and the expected value. ``entitled`` is
    ``None`` for a denial, and for a host behind a peer.
    """

    reason: Reason | None
    why: tuple[str, str, str] = ("", "", "")
    entitled: Entitled | None = None

    @property
    def accepted(self) -> bool:
        """Tell whether it was an accept."""
        return self.reason is None


@dataclass(frozen=True, slots=True)
class Recorded:
    """One event with its IKE peers and its outcome. ``time`` is aware, UTC."""

    time: datetime
    message: bytes
    ike_peers: frozenset[IkePeer] | None
    outcome: Outcome


def outcome(decision: Decision) -> Outcome:
    """Return the part of a decision that is recorded and compared."""
    if not isinstance(decision, Accept):
        return Outcome(decision.reason, (decision.field, decision.found, decision.expected))
    peer = decision.peer
    if peer is None:
        return Outcome(None)
    return Outcome(
        None,
        entitled=Entitled(peer.kind, peer.as_number, peer.prefixes, peer.max_prefix_length, peer.quarantined),
    )


def write(recorded: Recorded) -> bytes:
    """Return the line of an event, with its end."""
    value = {
        "v": VERSION,
        "time": recorded.time.isoformat(),
        "message": recorded.message.decode("latin-1"),
        "ike_peers": sorted(_write_ike_peer(peer) for peer in recorded.ike_peers or ()),
        **({"nobody": True} if recorded.ike_peers is not None and not recorded.ike_peers else {}),
        "outcome": _write_outcome(recorded.outcome),
    }
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def _write_ike_peer(peer: IkePeer) -> list[str | bool]:
    if peer.certificate:
        return [peer.identity, peer.has_certificate, peer.unproven, peer.certificate]
    if peer.awaited:
        return [peer.identity, peer.has_certificate, peer.unproven, "", True]
    return [peer.identity, peer.has_certificate, *([True] if peer.unproven else [])]


def _read_ike_peer(
    identity: Any, has_certificate: Any, unproven: Any = False, certificate: Any = "", awaited: Any = False
) -> IkePeer:
    return ike_peer(
        text(identity),
        has_certificate=boolean(has_certificate),
        unproven=boolean(unproven),
        certificate=text(certificate),
        awaited=boolean(awaited),
    )


def _write_outcome(outcome: Outcome) -> dict[str, Any]:
    if outcome.reason is not None:
        return {"reason": str(outcome.reason), "why": list(outcome.why)}
    entitled = outcome.entitled
    if entitled is None:
        return {}
    return {
        "kind": str(entitled.kind),
        "as_number": entitled.as_number,
        "prefixes": [str(prefix) for prefix in entitled.prefixes],
        "max_prefix_length": list(entitled.max_prefix_length),
        "quarantined": entitled.quarantined,
    }


def read(line: bytes) -> Recorded:
    """Read one line. Raises ``RecordingError``."""
    if len(line) > MAX_LINE_BYTES:
        raise RecordingError(f"longer than {MAX_LINE_BYTES} bytes")
    try:
        value = document(line)
    except ValueError:
        raise RecordingError("not JSON") from None
    if not isinstance(value, dict) or "v" not in value:
        raise RecordingError("not a recorded event")
    if value["v"] != VERSION:
        raise RecordingError(f"version {brief(value['v'], 20)}; this program reads version {VERSION}")
    try:
        return _read(value)
    except KeyError as error:
        raise RecordingError(f"{error.args[0]} is missing") from None
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise RecordingError(f"not in the format of a recorded event: {str(error)[:100]}") from None


def _read(value: Mapping[str, Any]) -> Recorded:
    time = datetime.fromisoformat(value["time"])
    if time.tzinfo is None:
        raise ValueError("time has no offset")
    return Recorded(
        time=time.astimezone(UTC),
        message=value["message"].encode("latin-1"),
        ike_peers=frozenset(_read_ike_peer(*peer) for peer in value["ike_peers"]) or _no_ike_peers(value),
        outcome=_read_outcome(value["outcome"]),
    )


def _no_ike_peers(value: Mapping[str, Any]) -> frozenset[IkePeer] | None:
    """Return an empty set if charon was asked and had no IKE_SA, ``None`` if it was not asked."""
    return frozenset() if boolean(value.get("nobody", False)) else None


def _read_outcome(value: Mapping[str, Any]) -> Outcome:
    if "reason" in value:
        field, found, expected = (text(part) for part in value["why"])
        return Outcome(Reason(value["reason"]), (field, found, expected))
    if not value:
        return Outcome(None)
    ipv4, ipv6 = (integer(length) for length in value["max_prefix_length"])
    return Outcome(
        None,
        entitled=Entitled(
            kind=PeerKind(value["kind"]),
            as_number=None if value["as_number"] is None else integer(value["as_number"]),
            prefixes=tuple(ip_network(text(prefix)) for prefix in value["prefixes"]),
            max_prefix_length=(ipv4, ipv6),
            quarantined=boolean(value["quarantined"]),
        ),
    )
