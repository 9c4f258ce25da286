"""Hands out addresses, prefixes and AS numbers from the pools; the database refuses what overlaps."""

from collections.abc import Iterator
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, insert, select
from sqlalchemy.exc import IntegrityError

from dmvpn_agent.addresses import RESERVED_AS_NUMBERS
from dmvpn_agent.ca import schema
from dmvpn_agent.ca.block import Block, Kind, block_at, first_free, is_usable
from dmvpn_agent.ca.errors import CaError

_POOL, _HOLDING = schema.pool.c, schema.holding.c
_NAMES = {Kind.ADDRESS: "tunnel networks", Kind.PREFIX: "site networks", Kind.AS_NUMBER: "AS numbers"}
_WORDS = {Kind.ADDRESS: "tunnel", Kind.PREFIX: "site", Kind.AS_NUMBER: "as"}


class Owner(NamedTuple):
    """The site or node that has a block. Neither for a reserved block, and ``note`` says why it is reserved."""

    site_id: int | None = None
    node_id: int | None = None
    note: str | None = None


def pools(connection: Connection, kind: Kind | None = None) -> list[Block]:
    """Return the pools, of one kind if it is given, in the order in which they were added."""
    query = select(_POOL.low, _POOL.high).order_by(_POOL.id)
    found = [block_at(low, high) for low, high in connection.execute(query)]
    return [one for one in found if kind is None or one.kind is kind]


def add_pool(connection: Connection, block: Block) -> None:
    """Add a pool. Raises ``CaError`` if it overlaps another one."""
    if block.kind is Kind.PREFIX:
        _refuse_inside_tunnels(connection, block)
    for other in pools(connection, block.kind):
        if block.overlaps(other):
            raise CaError(f"{_NAMES[block.kind]}: {block} overlaps {other}, which exists already",
                          "leave out what exists already")  # fmt: skip
    if block.kind is not Kind.PREFIX and block.low == block.high and not is_usable(block, block.low):
        raise CaError(f"{_NAMES[block.kind]}: {block} is reserved: no node can have it", "name another one")
    if block.kind is Kind.ADDRESS and block.low == block.high:
        raise CaError(f"{_NAMES[block.kind]}: {block} is a single address", "name a network with room for all nodes")
    _insert(connection, schema.pool.name, block, {"text": str(block), "low": block.start, "high": block.stop})
    if block.kind is Kind.ADDRESS:
        take(connection, Block(Kind.PREFIX, block.version, block.low, block.high), Owner(note="tunnel network"))


def _refuse_inside_tunnels(connection: Connection, block: Block) -> None:
    for tunnel in pools(connection, Kind.ADDRESS):
        if tunnel.version == block.version and tunnel.low <= block.low and block.high <= tunnel.high:
            raise CaError(f"site networks: {block} is inside of the tunnel network {tunnel}, so no site could have a"
                          " prefix of it", "name networks of which some lie outside of tunnels")  # fmt: skip


def give(connection: Connection, block: Block, owner: Owner) -> None:
    """Give a block that the operator names, which must be in a pool and free. Raises ``CaError``."""
    there = pools(connection, block.kind)
    pool = next((one for one in there if block.is_within(one)), None)
    if pool is None:
        names = ", ".join(map(str, there)) or "none"
        raise CaError(f"{block} is in none of the {_NAMES[block.kind]}: {names}",
                      f"name one that is, or `dmvpn-agent ca pool add {_WORDS[block.kind]} …`")  # fmt: skip
    if block.low == block.high and not is_usable(pool, block.low):
        raise CaError(f"{block} in {pool} is reserved: no node can have it", "name another one")
    take(connection, block, owner)


def take(connection: Connection, block: Block, owner: Owner) -> None:
    """Give a block, in a pool or not. Raises ``CaError`` if it overlaps one that is given."""
    if block.kind is Kind.AS_NUMBER and block.low in RESERVED_AS_NUMBERS:
        raise CaError(f"AS number {block} is reserved", "name another one")
    if (holder := holder_of(connection, block)) is not None:
        raise CaError(f"{block} overlaps {holder}", "name one that is free; `dmvpn-agent ca list holdings` shows all")
    _insert(connection, schema.holding.name, block,
            {"text": str(block), "low": block.start, "high": block.stop, **owner._asdict()})  # fmt: skip


def allocate(connection: Connection, kind: Kind, version: int, size: int, owner: Owner) -> Block:
    """Give a free block of this size: behind all that are given, else the first one. Raises ``CaError``."""
    there = [one for one in pools(connection, kind) if one.version == version]
    for pool in there:
        behind = max(pool.low, _behind_last(connection, pool))
        found = first_free(pool, size, _taken(connection, pool, _nobodys()), behind)
        found = found or first_free(pool, size, _taken(connection, pool))
        if found is not None:
            take(connection, found, owner)
            return found
    what = {Kind.ADDRESS: f"IPv{version} address", Kind.AS_NUMBER: "AS number"}.get(
        kind
    ) or f"prefix {_length(version, size)}"
    names = ", ".join(map(str, there)) or "there are none"
    raise CaError(f"no {what} is free in the {_NAMES[kind]}: {names}",
                  f"`dmvpn-agent ca pool add {_WORDS[kind]} …` adds more")  # fmt: skip


def holder_of(connection: Connection, block: Block) -> str | None:
    """Return what overlaps a block, with its owner, for people; ``None`` if the block is free."""
    query = (
        select(_HOLDING.text, _HOLDING.note, schema.site.c.name, schema.node.c.name)
        .select_from(schema.holding)
        .outerjoin(schema.site, _HOLDING.site_id == schema.site.c.id)
        .outerjoin(schema.node, _HOLDING.node_id == schema.node.c.id)
        .where(_HOLDING.low <= block.stop)
        .order_by(_HOLDING.low.desc())
        .limit(1)
        .add_columns(_HOLDING.high)
    )
    row = connection.execute(query).one_or_none()
    if row is None or row[4] < block.start:
        return None
    name, note, site, node, _ = row
    return f"{name} ({note})" if note else f"{name} of {node or site}"


def _insert(connection: Connection, table: str, block: Block, values: dict[str, object]) -> None:
    try:
        connection.execute(insert(schema.metadata.tables[table]), values)
    except IntegrityError as error:
        raise CaError(f"{block} has just been given to another site or node", "repeat the command") from error


def _within(pool: Block) -> ColumnElement[bool]:
    return _HOLDING.low.between(pool.start, pool.stop)


def _nobodys() -> ColumnElement[bool]:
    return _HOLDING.site_id.is_(None) & _HOLDING.node_id.is_(None)


def _behind_last(connection: Connection, pool: Block) -> int:
    """Return the position behind the last block given from a pool; 0 if none is given."""
    query = select(_HOLDING.high).where(_within(pool), ~_nobodys()).order_by(_HOLDING.low.desc()).limit(1)
    last = connection.execute(query).scalar()
    return 0 if last is None else block_at(last, last).low + 1


def _taken(connection: Connection, pool: Block, *conditions: ColumnElement[bool]) -> Iterator[Block]:
    query = select(_HOLDING.low, _HOLDING.high).where(_within(pool), *conditions).order_by(_HOLDING.low)
    return (block_at(low, high) for low, high in connection.execute(query))


def _length(version: int, size: int) -> str:
    return f"/{(32 if version == 4 else 128) - size.bit_length() + 1}"
