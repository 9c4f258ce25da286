"""The decision on a binding: accept, or deny with a reason."""

from dataclasses import dataclass

from dmvpn_agent.policy.check import Check
from dmvpn_agent.policy.peer import Peer
from dmvpn_agent.policy.reasons import Reason


@dataclass(frozen=True, slots=True)
class Accept:
    """The binding is authorized.

    ``peer`` is ``None`` if the binding is for a host behind a peer: then ``behind`` is that peer, once for each of
    its protocol addresses, with the host as its only prefix, and the host becomes no peer. ``replaces``: the peers
    that lose an address or a prefix to this one.
    """

    peer: Peer | None
    replaces: tuple[Peer, ...] = ()
    behind: tuple[Peer, ...] = ()


@dataclass(frozen=True, slots=True)
class Deny:
    """The binding is refused for ``reason``; ``field``, ``found`` and ``expected`` describe the failed check."""

    reason: Reason
    field: str
    found: str
    expected: str

    @classmethod
    def by(cls, check: Check) -> "Deny":
        """Return the denial by a failed check."""
        return cls(check.reason, check.field, check.found, check.expected)

    def __str__(self) -> str:
        return f"{self.reason}: {self.field} is {self.found}, expected {self.expected}"

    def as_json(self) -> dict[str, str]:
        """Return the denial as JSON values: ``reason``, ``field``, ``found``, ``expected``."""
        return {
            "reason": str(self.reason),
            "field": self.field,
            "found": self.found,
            "expected": self.expected,
        }


Decision = Accept | Deny
