"""What the registry says: nodes, sites, holdings and pools."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address

from sqlalchemy import ColumnElement, Connection, func, select

from dmvpn_agent.addresses import Address, Network
from dmvpn_agent.ca import schema
from dmvpn_agent.ca.block import Block, Kind, block_at
from dmvpn_agent.ca.errors import CaError
from dmvpn_agent.ca.node import Node
from dmvpn_agent.ca.settings import Settings

_SITE, _NODE, _HOLDING = schema.site.c, schema.node.c, schema.holding.c


@dataclass(frozen=True, slots=True)
class Site:
    """A site in service, with the names of its nodes."""

    name: str
    is_hubs: bool
    as_number: int
    prefixes: tuple[Network, ...]
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Holding:
    """A block that is given, and to whom; ``owner`` is empty for a reserved block."""

    block: Block
    owner: str
    note: str


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One line of the registry's log."""

    at: datetime
    operator: str
    action: str
    detail: str


def read_settings(connection: Connection) -> Settings:
    """Return the settings of the CA."""
    return Settings.from_json(connection.execute(select(schema.settings.c.value)).scalar_one())


def has_site(connection: Connection, name: str) -> bool:
    """Tell whether a site of this name is in service."""
    query = select(_SITE.id).where(func.lower(_SITE.name) == name.lower(), _SITE.removed_at.is_(None))
    return connection.execute(query).one_or_none() is not None


def find_site(connection: Connection, name: str) -> Site:
    """Return a site in service by its name. Raises ``CaError`` if there is none."""
    found = read_sites(connection, func.lower(_SITE.name) == name.lower())
    if not found:
        raise CaError(f"there is no site {name!r:.60}", "`dmvpn-agent ca list sites` shows all")
    return found[0]


def find_node(connection: Connection, name: str) -> Node:
    """Return a node in service by its name. Raises ``CaError`` if there is none."""
    query = select(_NODE.name, _NODE.removed_at).where(func.lower(_NODE.name) == name.lower())
    row = connection.execute(query).one_or_none()
    if row is None:
        raise CaError(
            f"there is no node {name!r:.60}", _nodes_of_site(connection, name) or "`dmvpn-agent ca list` shows all"
        )
    if row.removed_at is not None:
        raise CaError(f"the node {row.name} was removed at {row.removed_at:%Y-%m-%d %H:%M}", "add another one")
    (node,) = read_nodes(connection, _NODE.name == row.name)
    return node


def _nodes_of_site(connection: Connection, name: str) -> str:
    """Return what to name in place of a site."""
    if not has_site(connection, name):
        return ""
    site = find_site(connection, name)
    return f"{site.name} is a site, with the nodes {', '.join(site.nodes) or '(none)'}"


def read_nodes(connection: Connection, *conditions: ColumnElement[bool]) -> list[Node]:
    """Return the nodes in service, in the order in which they were added."""
    query = (
        select(schema.node, _SITE.name.label("site"), _SITE.is_hubs, _SITE.as_number.label("site_as"))
        .join(schema.site, _NODE.site_id == _SITE.id)
        .where(_NODE.removed_at.is_(None), *conditions)
        .order_by(_NODE.id)
    )
    rows = connection.execute(query).all()
    addresses = _blocks(connection, _HOLDING.node_id, {row.id for row in rows})
    prefixes = _blocks(connection, _HOLDING.site_id, {row.site_id for row in rows})
    return [
        Node(
            id=row.id,
            name=row.name,
            site=row.site,
            is_hub=row.is_hubs,
            addresses=tuple(_address(one) for one in addresses[row.id] if one.kind is Kind.ADDRESS),
            as_number=row.as_number or row.site_as,
            prefixes=tuple(one.network for one in prefixes[row.site_id] if one.kind is Kind.PREFIX),
            common_name=row.common_name or row.name,
        )
        for row in rows
    ]


def read_sites(connection: Connection, *conditions: ColumnElement[bool]) -> list[Site]:
    """Return the sites in service, in the order in which they were added."""
    rows = connection.execute(
        select(schema.site).where(_SITE.removed_at.is_(None), *conditions).order_by(_SITE.id)
    ).all()
    ids = {row.id for row in rows}
    prefixes = _blocks(connection, _HOLDING.site_id, ids)
    nodes = defaultdict(list)
    query = select(_NODE.site_id, _NODE.name).where(_NODE.removed_at.is_(None), _few(_NODE.site_id, ids))
    for site_id, name in connection.execute(query.order_by(_NODE.id)):
        nodes[site_id].append(name)
    return [
        Site(
            name=row.name,
            is_hubs=row.is_hubs,
            as_number=row.as_number,
            prefixes=tuple(one.network for one in prefixes[row.id] if one.kind is Kind.PREFIX),
            nodes=tuple(nodes[row.id]),
        )
        for row in rows
    ]


def read_holdings(connection: Connection) -> list[Holding]:
    """Return everything that is given, in ascending order of each kind."""
    query = (
        select(_HOLDING.low, _HOLDING.high, _HOLDING.note, _SITE.name, _NODE.name)
        .select_from(schema.holding)
        .outerjoin(schema.site, _HOLDING.site_id == _SITE.id)
        .outerjoin(schema.node, _HOLDING.node_id == _NODE.id)
        .order_by(_HOLDING.low)
    )
    return [
        Holding(block_at(low, high), node or site or "", note or "")
        for low, high, note, site, node in connection.execute(query)
    ]


def read_audit(connection: Connection, last: int) -> list[AuditRow]:
    """Return the last lines of the registry's log, the latest last."""
    rows = schema.audit.c
    query = select(rows.at, rows.operator, rows.action, rows.detail).order_by(rows.id.desc()).limit(last)
    return [AuditRow(*row) for row in reversed(connection.execute(query).all())]


def _address(block: Block) -> Address:
    return block.network.network_address if block.version == 6 else ip_address(block.low)


def _few(column: ColumnElement[int], ids: Iterable[int]) -> ColumnElement[bool]:
    """Return a condition for these ids; for many all rows are as fast, and databases limit the parameters."""
    chosen = list(ids)
    return column.in_(chosen) if len(chosen) <= 500 else column.is_not(None)


def _blocks(connection: Connection, owner: ColumnElement[int], ids: Iterable[int]) -> dict[int, list[Block]]:
    found = defaultdict(list)
    query = select(owner, _HOLDING.low, _HOLDING.high).where(owner.is_not(None), _few(owner, ids))
    for owner_id, low, high in connection.execute(query.order_by(_HOLDING.low)):
        found[owner_id].append(block_at(low, high))
    return found
