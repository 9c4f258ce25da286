"""Sites and nodes from a table: CSV with the columns ``site,node,addresses,prefixes,as_number``."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from sqlalchemy import Connection

from dmvpn_agent.addresses import Address, Network
from dmvpn_agent.ca.block import parse_as_range, parse_network
from dmvpn_agent.ca.errors import CaError
from dmvpn_agent.ca.node import HUBS
from dmvpn_agent.ca.reading import has_site, read_settings
from dmvpn_agent.ca.sites import NewNode, NewSite, add_node, add_prefix, add_site

COLUMNS = ("site", "node", "addresses", "prefixes", "as_number")
_MAX_ROWS = 100_000


@dataclass(frozen=True, slots=True)
class ImportedRow:
    """One line: a node, or with ``node`` ``None`` a site only. Several values in a cell are separated by spaces."""

    line: int
    site: str
    node: int | None
    addresses: tuple[Address, ...]
    prefixes: tuple[Network, ...]
    as_number: int | None


def read_rows(data: bytes) -> list[ImportedRow]:
    """Read the table. Raises ``CaError``, which names the line."""
    try:
        table = csv.DictReader(io.StringIO(data.decode("utf-8-sig")), strict=True)
        if missing := [name for name in COLUMNS if name not in (table.fieldnames or ())]:
            raise CaError(f"the table has no column {', '.join(missing)}", f"its first line is {','.join(COLUMNS)}")
        return list(_rows(table))
    except (UnicodeDecodeError, csv.Error) as error:
        raise CaError(f"the file is not CSV: {error}", "nothing was imported") from error


def _rows(table: "csv.DictReader[str]") -> Iterator[ImportedRow]:
    for row in table:
        line = table.line_num
        if line > _MAX_ROWS:
            raise CaError(f"the table has more than {_MAX_ROWS} lines", "split it; nothing was imported")
        cells = {name: (row[name] or "").strip() for name in COLUMNS}
        try:
            yield ImportedRow(
                line=line,
                site=cells["site"],
                node=_number(cells["node"]) if cells["node"] else None,
                addresses=tuple(ip_address(one) for one in cells["addresses"].split()),
                prefixes=tuple(parse_network(one) for one in cells["prefixes"].split()),
                as_number=parse_as_range(cells["as_number"]).low if cells["as_number"] else None,
            )
        except ValueError as error:
            raise CaError(f"line {line}: {error}", "nothing was imported") from error


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 5 and int(text)):
        raise ValueError(f"{text!r:.20} is not the number of a node (1 to 99999)")
    return int(text)


def import_rows(connection: Connection, rows: list[ImportedRow]) -> list[str]:
    """Add sites and nodes; return the nodes' names. A site's first line says its AS number. Raises ``CaError``."""
    common = read_settings(connection).as_number
    added = []
    for row in rows:
        try:
            is_hub = row.site.casefold() == HUBS.casefold()
            if not is_hub:
                _add_to_site(connection, row, common)
            if row.node is not None:
                as_number = row.as_number if is_hub else None
                added.append(add_node(connection, row.site, NewNode(row.addresses, as_number, row.node)))
        except CaError as error:
            raise CaError(f"line {row.line}: {error}; nothing was imported") from error
    return added


def _add_to_site(connection: Connection, row: ImportedRow, common: int | None) -> None:
    if not has_site(connection, row.site):
        add_site(connection, NewSite(row.site, row.prefixes, (), row.as_number), common)
        return
    for prefix in row.prefixes:
        add_prefix(connection, row.site, prefix)
