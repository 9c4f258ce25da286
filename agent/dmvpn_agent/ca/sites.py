"""Sites, hubs and nodes: adding and removing them."""

from typing import NamedTuple

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from dmvpn_agent.addresses import Address, AsRange, Network
from dmvpn_agent.ca import schema
from dmvpn_agent.ca.allocation import Owner, allocate, give, pools, take
from dmvpn_agent.ca.audit import record
from dmvpn_agent.ca.block import Block, Kind
from dmvpn_agent.ca.errors import CaError
from dmvpn_agent.ca.node import HUBS, checked_common_name, checked_name
from dmvpn_agent.runtime.clocks import utc_now

_SITE, _NODE = schema.site.c, schema.node.c


class NewSite(NamedTuple):
    """What a new site gets. ``lengths``: for each, an IP version and the length of a prefix from the pools.

    ``as_number``: ``None`` for the network's common one, or one from the pools.
    """

    name: str
    prefixes: tuple[Network, ...] = ()
    lengths: tuple[tuple[int, int], ...] = ()
    as_number: int | None = None


class NewNode(NamedTuple):
    """What a new node gets. ``addresses``: without any it gets a free one of each IP version.

    ``as_number``: ``None`` for the site's; ``number``: ``None`` for the site's next one. ``common_name``: the CN of
    its certificates, if that is not its name.
    """

    addresses: tuple[Address, ...] = ()
    as_number: int | None = None
    number: int | None = None
    common_name: str | None = None


def add_site(connection: Connection, new: NewSite, common_as: int | None) -> None:
    """Add a site; ``common_as`` is ``Settings.as_number``. Raises ``CaError``."""
    _add_site(connection, new, common_as, is_hubs=False)


def add_hubs(connection: Connection, as_number: int | None, common_as: int | None) -> None:
    """Add the site of the hubs, once. Raises ``CaError``."""
    _add_site(connection, NewSite(HUBS, as_number=as_number), common_as, is_hubs=True)


def _add_site(connection: Connection, new: NewSite, common_as: int | None, *, is_hubs: bool) -> None:
    name = new.name if is_hubs else checked_name(new.name)
    _refuse_duplicate(connection, schema.site.name, name)
    row = {"name": name, "is_hubs": is_hubs, "as_number": 0, "next_node": 1}
    site_id = connection.execute(insert(schema.site).returning(_SITE.id), row).scalar_one()
    owner = Owner(site_id=site_id)
    as_number = _as_number(connection, new.as_number, common_as, owner)
    connection.execute(update(schema.site).where(_SITE.id == site_id).values(as_number=as_number))
    given = [*new.prefixes]
    for prefix in new.prefixes:
        give(connection, Block.of_network(Kind.PREFIX, prefix), owner)
    for version, length in new.lengths:
        size = 1 << (32 if version == 4 else 128) - length
        given.append(allocate(connection, Kind.PREFIX, version, size, owner).network)
    record(connection, "site add", f"{name} {' '.join(map(str, given))} AS {as_number}")


def add_node(connection: Connection, site: str, new: NewNode = NewNode()) -> str:  # noqa: B008  immutable
    """Add a node to a site and return its name. Raises ``CaError``."""
    row = site_row(connection, site)
    number = new.number or row.next_node
    name = f"{'Hub' if row.is_hubs else row.name}-{number}"
    _refuse_duplicate(connection, schema.node.name, name)
    following = max(row.next_node, number + 1)
    connection.execute(update(schema.site).where(_SITE.id == row.id).values(next_node=following))
    values = {"site_id": row.id, "name": name, "common_name": new.common_name, "as_number": new.as_number}
    node_id = connection.execute(insert(schema.node).returning(_NODE.id), values).scalar_one()
    owner = Owner(node_id=node_id)
    if new.as_number is not None:
        give_as_number(connection, new.as_number, owner)
    given = [Block.of_address(address) for address in new.addresses]
    for block in given:
        give(connection, block, owner)
    if not given:
        versions = sorted({one.version for one in pools(connection, Kind.ADDRESS)})
        given = [allocate(connection, Kind.ADDRESS, version, 1, owner) for version in versions]
    record(connection, "node add", f"{name} {' '.join(map(str, given))}")
    return name


def refuse_common_name(connection: Connection, site: str, name: str) -> None:
    """Raise ``CaError`` for a CN that cannot be one, or that another node of the site has, or is going to have.

    Subjects of one site differ by it alone.
    """
    checked_common_name(name)
    row = site_row(connection, site)
    query = select(_NODE.common_name).where(_NODE.site_id == row.id, _NODE.common_name.is_not(None))
    taken = {str(one).casefold() for one in connection.execute(query).scalars()}
    stem, _, number = name.casefold().rpartition("-")
    own = "hub" if row.is_hubs else str(row.name).casefold()
    if name.casefold() in taken or (number.isdecimal() and stem == own):
        raise CaError(f"{name} is the name of another node of {row.name}, or may become one", "use another name")


def add_prefix(connection: Connection, site: str, prefix: Network) -> None:
    """Give a site another prefix. Raises ``CaError``."""
    row = site_row(connection, site)
    if row.is_hubs:
        raise CaError("hubs have no prefixes of their own", "make a site for the networks behind a hub")
    give(connection, Block.of_network(Kind.PREFIX, prefix), Owner(site_id=row.id))
    record(connection, "prefix add", f"{row.name} {prefix}")


def remove_prefix(connection: Connection, site: str, prefix: Network) -> None:
    """Take a prefix from a site. Raises ``CaError`` if the site does not have it."""
    row = site_row(connection, site)
    start = Block.of_network(Kind.PREFIX, prefix)
    has = schema.holding.c
    removed = connection.execute(
        delete(schema.holding).where(has.site_id == row.id, has.low == start.start, has.high == start.stop)
    )
    if removed.rowcount != 1:
        raise CaError(f"{row.name} does not have {prefix}", f"`dmvpn-agent ca show {row.name}` lists its prefixes")
    record(connection, "prefix remove", f"{row.name} {prefix}")


def remove_node(connection: Connection, node_id: int, name: str) -> None:
    """Remove a node: its addresses are free again. Its certificates must be revoked first."""
    connection.execute(delete(schema.holding).where(schema.holding.c.node_id == node_id))
    connection.execute(update(schema.node).where(_NODE.id == node_id).values(removed_at=utc_now()))
    record(connection, "node remove", name)


def remove_site(connection: Connection, site: str) -> None:
    """Remove a site: what it had is free again. Raises ``CaError`` while it has nodes."""
    row = site_row(connection, site)
    left = select(_NODE.name).where(_NODE.site_id == row.id, _NODE.removed_at.is_(None)).order_by(_NODE.name)
    if row.is_hubs or (nodes := connection.execute(left).scalars().all()):
        what = "the hubs' site stays" if row.is_hubs else f"{row.name} has nodes: {', '.join(nodes)}"
        raise CaError(what, "remove them first by `dmvpn-agent ca node remove`")
    connection.execute(delete(schema.holding).where(schema.holding.c.site_id == row.id))
    connection.execute(update(schema.site).where(_SITE.id == row.id).values(removed_at=utc_now()))
    record(connection, "site remove", row.name)


def give_as_number(connection: Connection, number: int, owner: Owner) -> None:
    """Give an AS number that the operator names; it need not be in a pool. Raises ``CaError``."""
    take(connection, Block.of_as_numbers(AsRange(number, number)), owner)


def _as_number(connection: Connection, wanted: int | None, common: int | None, owner: Owner) -> int:
    if wanted is None and common is not None:
        return common
    if wanted is None:
        return allocate(connection, Kind.AS_NUMBER, 0, 1, owner).low
    if wanted != common:
        give_as_number(connection, wanted, owner)
    return wanted


def site_row(connection: Connection, name: str) -> Row[tuple[object, ...]]:
    """Return the row of a site. Raises ``CaError`` if there is none."""
    query = select(schema.site).where(func.lower(_SITE.name) == name.lower())
    row = connection.execute(query).one_or_none()
    if row is None:
        raise CaError(f"there is no site {name!r:.60}", "`dmvpn-agent ca list` shows all; `ca site add` adds one")
    if row.removed_at is not None:
        raise CaError(f"the site {row.name} was removed at {row.removed_at:%Y-%m-%d %H:%M}", "use another name")
    return row


def _refuse_duplicate(connection: Connection, table: str, name: str) -> None:
    columns = schema.metadata.tables[table].c
    query = select(columns.removed_at).where(func.lower(columns.name) == name.lower())
    if (row := connection.execute(query).one_or_none()) is not None:
        was = "was removed, and its name is not used again" if row.removed_at else "is there already"
        raise CaError(f"{name} {was}", "use another name")
