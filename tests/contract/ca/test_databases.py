"""The registry in SQLite and in a real PostgreSQL: the same rules, kept by the database, with many operators too."""

import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from ipaddress import ip_network
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import func, insert, select, text, update
from sqlalchemy.exc import IntegrityError

import postgresql
from ca_operator import add_in_a_race
from ca_registry import NOW, make_registry, signer_of
from dmvpn_agent.addresses import AsRange
from dmvpn_agent.ca import database as database_module
from dmvpn_agent.ca import schema
from dmvpn_agent.ca.authorities import issuing_authority
from dmvpn_agent.ca.block import Block, Kind
from dmvpn_agent.ca.crls import latest_crl, make_crl, why_due
from dmvpn_agent.ca.database import Database
from dmvpn_agent.ca.errors import CaError
from dmvpn_agent.ca.issuing import certificates_of, issue
from dmvpn_agent.ca.node import HUBS
from dmvpn_agent.ca.profile import Networks
from dmvpn_agent.ca.reading import find_node, find_site, read_holdings, read_nodes
from dmvpn_agent.ca.revocation import Reason, revoke
from dmvpn_agent.ca.sites import NewSite, add_node, add_site, remove_node, remove_site
from dmvpn_agent.x509.private_key import new_key

#: Turns of each of four operators, with two additions each: 1,000 additions with CA_RACES=125.
RACES = int(os.environ.get("CA_RACES", "24"))
WIDE = Networks((ip_network("10.128.0.0/16"),), (ip_network("10.0.0.0/9"),), (AsRange(4200000000, 4294967294),))


@pytest.fixture(scope="module")
def server() -> Iterator[postgresql.Server]:
    if postgresql.programs() is None:
        pytest.skip("needs PostgreSQL, psycopg and the user postgres")
    with postgresql.server() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "registry.sqlite")
    made: postgresql.Server = request.getfixturevalue("server")
    return made.new_database()


def test_the_whole_life_of_a_node(place: str) -> None:
    """Added, certified, revoked, removed; and what it had is free again."""
    database = make_registry(place, with_issuing=True)
    with database.writing() as connection:
        add_site(connection, NewSite("FIN", (ip_network("fd00:0:1::/48"),), ((4, 24), (6, 64))), None)
        node = find_node(connection, add_node(connection, "fin"))
        issued = issue(connection, signer_of(connection), node, new_key().public_key(), NOW)
    with database.writing() as connection:
        (known,) = certificates_of(connection, node.id)
        assert (known.serial, known.not_after) == (issued.serial_number, issued.not_valid_after_utc)
        assert find_node(connection, "FIN-1") == node
        assert revoke(connection, node.id, node.name, Reason.KEY_COMPROMISE, NOW) == [f"{known.serial:x}"]
        authority = issuing_authority(connection)
        assert "revoked" in why_due(connection, authority, NOW)
        made = [make_crl(connection, signer_of(connection), timedelta(hours=1), NOW) for _ in range(5)]
        assert latest_crl(connection, authority) == made[-1]
        assert why_due(connection, authority, NOW) == ""
        remove_node(connection, node.id, node.name)
        remove_site(connection, "FIN")
    with database.reading() as connection:
        assert read_nodes(connection) == []
        assert {one.owner for one in read_holdings(connection)} == {"", HUBS}


@pytest.mark.parametrize("table", ["holding", "pool"])
def test_the_database_refuses_overlaps(place: str, table: str) -> None:
    """Whatever program writes into it, and whether it adds or changes."""
    database = make_registry(place)
    rows = schema.metadata.tables[table]
    block = Block.of_network(Kind.PREFIX, ip_network("192.0.2.0/24"))
    ipv6 = Block.of_network(Kind.PREFIX, ip_network("2001:db8::/32"))

    def refused(low: int, high: int) -> None:
        with pytest.raises(CaError, match=r"overlap|uq_|UNIQUE|ascends"), database.writing() as connection:
            connection.execute(insert(rows), {"text": "y", "low": low, "high": high})

    with database.writing() as connection:
        for one in (block, ipv6):
            connection.execute(insert(rows), {"text": "x", "low": one.start, "high": one.stop})
        connection.execute(insert(rows), {"text": "z", "low": block.stop + 1, "high": block.stop + 1})
    for one in (block, ipv6):
        for low, high in ((one.start, one.start), (one.stop, one.stop), (one.start - 5, one.stop + 5),
                          (one.start - 5, one.start), (one.stop - 1, one.stop + 1), (one.start + 1, one.start + 2),
                          (one.start - 1, one.start - 2)):  # fmt: skip
            refused(low, high)
    with pytest.raises(CaError, match=r"overlap|uq_"), database.writing() as connection:
        connection.execute(update(rows).where(rows.c.text == "z").values(low=block.stop))


def test_names_differ_by_more_than_case(place: str) -> None:
    """Because names in certificates are compared without regard to it."""
    database = make_registry(place)
    with database.writing() as connection:
        add_site(connection, NewSite("FIN"), None)
    row = {"name": "fin", "is_hubs": False, "as_number": 1, "next_node": 1}
    with database.reading() as connection, pytest.raises(IntegrityError):
        connection.execute(insert(schema.site), row)


def test_migrations_and_code_agree(place: str) -> None:
    """Alembic finds nothing to change; and a second `init` there is refused."""
    database = make_registry(place)
    with database.reading() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), schema.metadata)
    assert [one for one in differences if "lower_name" not in str(one)] == []
    with pytest.raises(CaError, match="already"):
        make_registry(place)


def test_a_failed_init_leaves_nothing(place: str) -> None:
    """Not even tables: the next one succeeds."""
    overlapping = Networks((ip_network("10.0.0.0/8"), ip_network("10.1.0.0/16")), (), (AsRange(1, 9),))
    with pytest.raises(CaError, match="overlaps"):
        make_registry(place, networks=overlapping)
    with pytest.raises(CaError, match="no registry"), Database(place).reading():
        pass
    make_registry(place)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("locked", [True, False])
def test_racing_additions_do_not_overlap(place: str, locked: bool) -> None:
    """Four operators at once. Without the lock PostgreSQL's constraint alone decides; SQLite always has its own."""
    if not locked and "postgresql" not in place:
        pytest.skip("SQLite has no writer without the lock")
    operators, times = 4, RACES if locked else RACES // 3
    database = make_registry(place, networks=WIDE)
    with ProcessPoolExecutor(operators, mp_context=get_context("spawn")) as pool:
        running = [pool.submit(add_in_a_race, place, number, times, locked) for number in range(operators)]
        done = sum((one.result() for one in running), Counter[str]())
    with database.reading() as connection:
        blocks = sorted((one.block for one in read_holdings(connection)), key=lambda one: one.start)
        sites = connection.execute(select(func.count()).select_from(schema.site)).scalar()
    assert all(one.stop < other.start for one, other in pairwise(blocks))
    assert done["added"] == operators * times
    assert all(done[name] == 1 for name in done if "/" in name)
    assert sites == 1 + done["added"] + sum(1 for name in done if "/" in name)


def test_postgresql_that_is_not_there_is_named(tmp_path: Path) -> None:
    """With what to check; the password is not shown."""
    if postgresql.programs() is None:
        pytest.skip("needs psycopg")
    database = Database(f"postgresql://me:secret@/x?host={tmp_path}")
    with pytest.raises(CaError, match="check that PostgreSQL runs") as refused, database.reading():
        pass
    assert "secret" not in str(refused.value)


def test_an_operator_without_rights_is_told(server: postgresql.Server) -> None:
    """A role that may not make tables."""
    server.run("psql", "-h", str(server._folder), "-c", "CREATE ROLE guest LOGIN", "postgres")
    place = server.new_database().replace("postgres@", "guest@")
    with pytest.raises(CaError, match=r"permission denied.*the owner of the database"):
        make_registry(place)


def test_a_writer_that_never_ends_is_named(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one waits for a while, and then says why it could not."""
    monkeypatch.setattr(database_module, "LOCK_TIMEOUT", 1)
    database, other = make_registry(place), Database(place)
    with database.writing() as connection:
        connection.execute(text("SELECT 1"))
        with pytest.raises(CaError, match="has been writing"), other.writing():
            pass
    with other.writing() as connection:
        assert find_site(connection, HUBS).is_hubs
