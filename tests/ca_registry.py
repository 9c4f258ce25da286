"""A registry of the CA for tests, made quickly."""

from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from dmvpn_agent.addresses import AsRange
from dmvpn_agent.ca import keys
from dmvpn_agent.ca.authorities import Signer, issuing_authority, unlock
from dmvpn_agent.ca.creation import NewRegistry, create_registry
from dmvpn_agent.ca.database import Database
from dmvpn_agent.ca.profile import Networks
from dmvpn_agent.ca.settings import Settings

PASSPHRASE = b"correct horse battery"
NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
NETWORKS = Networks(
    (ip_network("10.255.0.0/24"),), (ip_network("10.0.0.0/8"), ip_network("fd00::/32")), (AsRange(64512, 64520),)
)


def make_registry(
    place: Path | str, settings: Settings | None = None, now: datetime = NOW, **changes: Any
) -> Database:
    """A registry with a CA; ``changes`` are fields of ``NewRegistry``."""
    rounds, keys._ROUNDS = keys._ROUNDS, 1000
    try:
        database = Database(str(place))
        new = NewRegistry(settings or Settings(), changes.pop("networks", NETWORKS), **changes)
        create_registry(database, new, PASSPHRASE, now)
    finally:
        keys._ROUNDS = rounds
    return database


def signer_of(connection: Connection, now: datetime = NOW) -> Signer:
    """The CA that issues, with its key."""
    return unlock(issuing_authority(connection), PASSPHRASE, now)
