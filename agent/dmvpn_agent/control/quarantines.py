"""The peers that an operator quarantined by command, kept across restarts.

A quarantined peer is accepted, but has no BGP neighbor. ``[[policy.maintenance]]`` does the same by configuration.
What must survive the loss of the state directory belongs there.
"""

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from dmvpn_agent.policy.rules import Action, Maintenance, Policy
from dmvpn_agent.runtime.sqlite_file import Row, Table, decode_plain, encode_plain, read_file
from dmvpn_agent.runtime.store import Store
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.runtime.unreadable import ItemSource, Unreadable

#: Identities, and characters of one.
LIMIT, LONGEST_IDENTITY = 1000, 1000


class Quarantines:
    """The quarantined identities: a certificate's subject (RFC 4514), or an IKE identity."""

    TABLE = Table("quarantined", {"identity": str, "name": str}, ItemSource.QUARANTINE, encode_plain, decode_plain)

    def __init__(self, store: Store[str, Row]) -> None:
        self._store = store

    def open(self) -> None:
        """Read what was stored."""
        self._store.open()

    def close(self) -> None:
        """Write what is not written."""
        self._store.close()

    def __contains__(self, identity: str) -> bool:
        return any(known == identity for known, _ in self._store.load())

    def __len__(self) -> int:
        return len(self._store.load())

    def add(self, identity: str, name: str) -> bool:
        """Quarantine an identity; return whether that survives a restart."""
        self._store.save(identity, (name,))
        return self._store.flush() and self._store.survives

    def remove(self, identity: str) -> bool:
        """Release an identity; return whether that survives a restart."""
        self._store.remove(identity)
        return self._store.flush() and self._store.survives

    def in_force(self, policy: Policy) -> Policy:
        """Return a policy with these quarantines added."""
        return with_quarantines(policy, (identity for identity, _ in self._store.load()))


def with_quarantines(policy: Policy, identities: Iterable[str]) -> Policy:
    """Return a policy with quarantines of these identities added."""
    rows = tuple(Maintenance(Action.QUARANTINE, _pattern(identity)) for identity in identities)
    return replace(policy, maintenance=(*policy.maintenance, *rows)) if rows else policy


def read_quarantines(state_directory: Path) -> tuple[str, ...]:
    """Return the identities that an agent, which may be running, has quarantined. Raises ``StoreUnreadable``."""
    path = state_directory / f"{Quarantines.TABLE.name}.sqlite"
    with suppress(OSError):
        if not path.exists():
            return ()  # the agent has never run here
    return tuple(read_file(path, Quarantines.TABLE, Unreadable(Telemetry())))


def _pattern(identity: str) -> str:
    """Return a shell pattern that matches only this text."""
    return re.sub(r"([*?[])", r"[\1]", identity)
