"""The decision as a value: accept, or deny with a reason; and the checks that an operator is shown."""

from dataclasses import dataclass

from dmvpn_agent.policy.peer import Peer
from dmvpn_agent.policy.reasons import Reason


@dataclass(frozen=True, slots=True)
class Check:
    """One rule applied to one value: what an operator is shown.

    ``field`` is where the value stands (``OU GRE``), ``found`` the value, ``expected`` what the rule asks.
    """

    reason: Reason
    field: str
    found: str
    expected: str
    passed: bool


@dataclass(frozen=True, slots=True)
class Accept:
    """The binding is authorized.

    ``peer`` is ``None`` where the binding is that of a host, which makes nobody a peer: ``behind`` is then the peer
    that the host is behind, with the host as its only prefix. ``replaces`` are the peers that lose an address or a
    prefix to this one.
    """

    peer: Peer | None
    replaces: tuple[Peer, ...] = ()
    behind: Peer | None = None


@dataclass(frozen=True, slots=True)
class Deny:
    """The binding is refused for ``reason``; ``field``, ``found`` and ``expected`` say what failed."""

    reason: Reason
    field: str
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.reason}: {self.field} is {self.found}, expected {self.expected}"


Decision = Accept | Deny
