"""``ca init``: a registry with its pools, and the keys of the CA."""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, insert, update

from dmvpn_agent.addresses import AsRange
from dmvpn_agent.ca import schema
from dmvpn_agent.ca.allocation import Owner, add_pool, take
from dmvpn_agent.ca.audit import record
from dmvpn_agent.ca.authorities import Lifetimes, make_authorities
from dmvpn_agent.ca.block import Block, Kind
from dmvpn_agent.ca.crls import lifetime_of, make_crl, publish_latest
from dmvpn_agent.ca.database import Database
from dmvpn_agent.ca.errors import CaError
from dmvpn_agent.ca.files import pending_file
from dmvpn_agent.ca.profile import Networks
from dmvpn_agent.ca.settings import Settings
from dmvpn_agent.ca.sites import add_hubs
from dmvpn_agent.runtime.owner_rights import own_rights


@dataclass(frozen=True, slots=True)
class NewRegistry:
    """The arguments of ``ca init``.

    ``hub_as``: the AS number of the hubs; ``None`` for the common one, or one from a pool.

    ``root_key``: a file for the root's key, which the registry does not keep then. ``bounded``: the CA certificates
    name the pools (RFC 3779), and no certificate below them may name more.
    """

    settings: Settings
    networks: Networks
    hub_as: int | None = None
    with_issuing: bool = False
    root_key: Path | None = None
    bounded: bool = False
    lifetimes: Lifetimes = field(default_factory=Lifetimes)


def create_registry(database: Database, new: NewRegistry, passphrase: bytes, now: datetime) -> None:
    """Make a registry. Raises ``CaError``; then nothing is left of it."""
    _check(new)
    with database.creating() as connection:
        lay_out(connection, new.settings, new.networks, new.hub_as)
        root_key, signers = make_authorities(
            connection, new.settings.organization, passphrase, now, with_issuing=new.with_issuing,
            keep_root=new.root_key is None, lifetimes=new.lifetimes, held=_held(new) if new.bounded else None,
        )  # fmt: skip
        for signer in signers:
            make_crl(connection, signer, lifetime_of(signer.authority, new.settings), now)
        record(connection, "init", new.settings.to_json())
        if new.root_key is not None:
            with own_rights(), pending_file(new.root_key, root_key.encode(), mode=0o600) as pending:
                pending.put()
    publish_latest(database)


def lay_out(connection: Connection, settings: Settings, networks: Networks, hub_as: int | None) -> None:
    """Write settings, pools and the site of the hubs into a new registry. Raises ``CaError``."""
    connection.execute(insert(schema.settings), {"id": 1, "value": settings.to_json()})
    _add_pools(connection, networks)
    common = settings.as_number
    if common is not None:
        take(connection, Block.of_as_numbers(AsRange(common, common)), Owner(note="the common AS number"))
    add_hubs(connection, hub_as, common)


def change_settings(connection: Connection, settings: Settings) -> None:
    """Write other settings into a registry; they apply to what is made from now on. Raises ``CaError``."""
    settings.check()
    connection.execute(update(schema.settings).values(value=settings.to_json()))
    record(connection, "set", settings.to_json())


def _check(new: NewRegistry) -> None:
    new.settings.check()
    if new.settings.crl_directory and not Path(new.settings.crl_directory).is_dir():
        raise CaError(f"{new.settings.crl_directory} is not a directory", "create it first; CRLs are published there")
    if not new.networks.tunnels:
        raise CaError("there is no tunnel network", "add one: --tunnel 10.255.0.0/24")
    if new.settings.as_number is None and not new.networks.as_ranges:
        raise CaError("there are no AS numbers", "add a range: --as-numbers 64512-65534, or one for all: --as-number")
    if new.root_key is not None and not new.with_issuing:
        raise CaError("without an issuing CA the root's key is needed for every certificate",
                      "leave out --root-key, or add --issuing-ca")  # fmt: skip


def _add_pools(connection: Connection, networks: Networks) -> None:
    for network in networks.tunnels:
        add_pool(connection, Block.of_network(Kind.ADDRESS, network))
    for network in networks.sites:
        add_pool(connection, Block.of_network(Kind.PREFIX, network))
    for numbers in networks.as_ranges:
        add_pool(connection, Block.of_as_numbers(numbers))


def _held(new: NewRegistry) -> Networks:
    """Return what the CA's certificates may name: the pools, and AS numbers that were named one by one."""
    single = [AsRange(one, one) for one in (new.settings.as_number, new.hub_as) if one is not None]
    return Networks(new.networks.tunnels, new.networks.sites, (*new.networks.as_ranges, *single))
