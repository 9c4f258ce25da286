"""The registry: who has what, and that nobody has what is another's."""

from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from ca_registry import make_registry
from dmvpn_agent.addresses import AsRange
from dmvpn_agent.ca import schema
from dmvpn_agent.ca.allocation import add_pool
from dmvpn_agent.ca.block import Block, Kind
from dmvpn_agent.ca.database import Database
from dmvpn_agent.ca.errors import CaError
from dmvpn_agent.ca.node import HUBS
from dmvpn_agent.ca.profile import Networks
from dmvpn_agent.ca.reading import find_node, find_site, read_audit, read_holdings
from dmvpn_agent.ca.settings import Settings
from dmvpn_agent.ca.sites import (
    NewNode,
    NewSite,
    add_node,
    add_prefix,
    add_site,
    refuse_common_name,
    remove_node,
    remove_prefix,
    remove_site,
)


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return make_registry(tmp_path / "registry.sqlite")


def site(database: Database, name: str, *prefixes: str, lengths: tuple[tuple[int, int], ...] = ()) -> None:
    with database.writing() as connection:
        add_site(connection, NewSite(name, tuple(map(ip_network, prefixes)), lengths), None)


def test_hubs_and_sites_get_the_first_free_numbers(database: Database) -> None:
    """Address and AS number, in the order in which they come."""
    site(database, "FIN", "10.1.0.0/16")
    with database.writing() as connection:
        hub, router = (find_node(connection, add_node(connection, name)) for name in (HUBS, "FIN"))
    assert (hub.name, hub.is_hub, hub.addresses, hub.as_number, hub.prefixes) == (
        "Hub-1", True, (ip_address("10.255.0.1"),), 64512, ())  # fmt: skip
    assert (router.name, router.addresses, router.as_number) == ("FIN-1", (ip_address("10.255.0.2"),), 64513)
    assert router.prefixes == (ip_network("10.1.0.0/16"),)


@pytest.mark.parametrize(("block", "why"), [
    (Block.of_network(Kind.PREFIX, ip_network("10.255.0.0/25")), "inside of the tunnel network 10.255.0.0/24"),
    (Block.of_network(Kind.ADDRESS, ip_network("10.254.0.1/32")), "a single address"),
    (Block.of_as_numbers(AsRange(65535, 65535)), "reserved"),
])  # fmt: skip
def test_a_pool_of_which_nothing_can_be_given_is_refused(database: Database, block: Block, why: str) -> None:
    """Not only when somebody wants something of it."""
    with pytest.raises(CaError, match=why), database.writing() as connection:
        add_pool(connection, block)


def test_nodes_of_a_site_share_its_prefixes(database: Database) -> None:
    """And its AS number; each has its own address."""
    site(database, "FIN", "10.1.0.0/16", "fd00:0:1::/48")
    with database.writing() as connection:
        one, other = (find_node(connection, add_node(connection, "FIN")) for _ in range(2))
    assert (one.prefixes, one.as_number) == (other.prefixes, other.as_number)
    assert one.addresses != other.addresses


def test_a_prefix_by_its_length_avoids_what_is_taken(database: Database) -> None:
    """The tunnel network too, which lies in the site networks."""
    site(database, "A", "10.254.0.0/16")
    site(database, "B", lengths=((4, 16), (6, 48)))
    with database.reading() as connection:
        assert find_site(connection, "B").prefixes == (ip_network("10.0.0.0/16"), ip_network("fd00::/48"))


@pytest.mark.parametrize("prefix", ["10.1.0.0/16", "10.1.4.0/24", "10.0.0.0/8", "10.255.0.128/25"])
def test_an_overlap_is_refused_and_its_owner_named(database: Database, prefix: str) -> None:
    """With sites and with tunnel networks; and nothing of the new site stays."""
    site(database, "FIN", "10.1.0.0/16")
    with pytest.raises(CaError, match=r"overlaps .* (of FIN|\(tunnel network\))"):
        site(database, "SWE", "10.2.0.0/16", prefix)
    with database.reading() as connection, pytest.raises(CaError, match="no site"):
        find_site(connection, "SWE")


@pytest.mark.parametrize("table", ["holding", "pool"])
def test_the_database_itself_refuses_an_overlap(database: Database, table: str) -> None:
    """Whatever program writes into it; adding and changing."""
    rows = schema.metadata.tables[table]
    block = Block.of_network(Kind.PREFIX, ip_network("192.0.2.0/24"))
    row = {"text": "x", "low": block.start, "high": block.stop}
    with database.writing() as connection:
        connection.execute(insert(rows), row)
        for low, high in ((block.start, block.start), (block.stop, block.stop), (block.start - 5, block.stop + 5),
                          (block.start - 5, block.start)):  # fmt: skip
            with pytest.raises(IntegrityError):
                connection.execute(insert(rows), {"text": "y", "low": low, "high": high})
        connection.execute(insert(rows), {"text": "z", "low": block.stop + 1, "high": block.stop + 1})
        with pytest.raises(IntegrityError):
            connection.execute(update(rows).where(rows.c.text == "z").values(low=block.stop))


def test_an_exhausted_pool_is_named_with_what_to_do(tmp_path: Path) -> None:
    """A /30 has two addresses."""
    database = make_registry(tmp_path / "r", networks=Networks((ip_network("10.255.0.0/30"),), (), (AsRange(1, 9),)))
    with database.writing() as connection:
        assert [add_node(connection, HUBS) for _ in range(2)] == ["Hub-1", "Hub-2"]
    with (
        pytest.raises(
            CaError, match=r"no IPv4 address is free in the tunnel networks: 10.255.0.0/30.*pool add tunnel"
        ),
        database.writing() as connection,
    ):
        add_node(connection, HUBS)
    with database.writing() as connection:
        add_pool(connection, Block.of_network(Kind.ADDRESS, ip_network("10.255.1.0/30")))
        assert find_node(connection, add_node(connection, HUBS)).addresses == (ip_address("10.255.1.1"),)


def test_what_is_removed_is_free_again_but_its_name_is_not(database: Database) -> None:
    """Certificates with the name may still be about."""
    site(database, "FIN", "10.1.0.0/16")
    with database.writing() as connection:
        node = find_node(connection, add_node(connection, "FIN"))
        with pytest.raises(CaError, match="has nodes: FIN-1"):
            remove_site(connection, "FIN")
        remove_node(connection, node.id, node.name)
        remove_site(connection, "FIN")
        assert {one.owner for one in read_holdings(connection)} == {"", "Hubs"}
    site(database, "SWE", "10.1.0.0/16")
    with pytest.raises(CaError, match="its name is not used again"):
        site(database, "Fin")


@pytest.mark.parametrize("name", ["", "hub", "Hubs", "a b", "GRE=1", "x" * 25, "-a", "å"])
def test_a_name_that_would_mislead_is_refused(database: Database, name: str) -> None:
    """It stands in the subject beside the OUs that name resources."""
    with pytest.raises(CaError, match="cannot be a name"):
        site(database, name)


def test_a_sites_prefixes_can_change(database: Database) -> None:
    """One more, one less."""
    site(database, "FIN", "10.1.0.0/16")
    with database.writing() as connection:
        add_prefix(connection, "fin", ip_network("10.2.0.0/16"))
        remove_prefix(connection, "FIN", ip_network("10.1.0.0/16"))
        assert find_site(connection, "FIN").prefixes == (ip_network("10.2.0.0/16"),)
        with pytest.raises(CaError, match="does not have"):
            remove_prefix(connection, "FIN", ip_network("10.1.0.0/16"))


def test_one_as_number_for_all(tmp_path: Path) -> None:
    """As dmvpn-ca does by default; a site may have another one, which is its own."""
    database = make_registry(tmp_path / "r", Settings(as_number=65000))
    with database.writing() as connection:
        for name, number in (("A", None), ("B", None), ("C", 65001)):
            add_site(connection, NewSite(name, as_number=number), 65000)
        assert [find_site(connection, name).as_number for name in ("Hubs", "A", "B", "C")] == [65000] * 3 + [65001]
        with pytest.raises(CaError, match="overlaps 65001 of C"):
            add_site(connection, NewSite("D", as_number=65001), 65000)


def test_every_change_is_in_the_log(database: Database) -> None:
    """With who made it."""
    site(database, "FIN", "10.1.0.0/16")
    with database.reading() as connection:
        rows = read_audit(connection, 1)
    assert [(one.action, one.detail) for one in rows] == [("site add", "FIN 10.1.0.0/16 AS 64513")]
    assert "@" in rows[0].operator


def test_the_migrations_make_what_the_code_expects(database: Database) -> None:
    """Alembic finds no difference between the tables and ``schema``."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with database.reading() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), schema.metadata)
    assert [one for one in differences if "lower_name" not in str(one)] == []


def test_a_registry_of_another_version_is_not_touched(database: Database) -> None:
    """The older one is upgraded by a command, the later one is refused."""
    assert not database.upgrade()
    with database.writing() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    for attempt in (database.reading, database.writing):
        with pytest.raises(CaError, match="later than this program's"), attempt():
            pass


def test_a_place_without_registry_is_named(tmp_path: Path) -> None:
    """Missing, empty, and something else."""
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("no database at all, " * 100)
    for name, words in (("missing", "ca init"), ("empty", "ca init"), ("text", "not a database")):
        with pytest.raises(CaError, match=words), Database(str(tmp_path / name)).reading():
            pass
    assert not (tmp_path / "missing").exists()


def test_a_registry_is_never_made_over_another(database: Database) -> None:
    """``init`` a second time leaves the first one as it is."""
    assert database.file
    before = database.file.read_bytes()
    with pytest.raises(CaError, match="already"):
        make_registry(database.file)
    assert database.file.read_bytes() == before


def test_a_failed_init_leaves_nothing(tmp_path: Path) -> None:
    """No file without tables, which the next ``init`` would stumble over."""
    with pytest.raises(CaError, match="is not a name"):
        make_registry(tmp_path / "r", Settings(organization="Example"))
    assert list(tmp_path.iterdir()) == []


def test_the_registry_is_readable_for_its_owner_only(database: Database) -> None:
    """The keys in it are encrypted all the same."""
    assert database.file
    assert database.file.stat().st_mode & 0o777 == 0o600
    with database.reading() as connection:
        (key,) = connection.execute(select(schema.authority.c.key)).scalars()
    assert key.startswith("-----BEGIN ENCRYPTED PRIVATE KEY-----")


def test_a_common_name_is_the_nodes_own(database: Database) -> None:
    """It needs no quotes anywhere, and no other node of the site has it or gets it as its name."""
    site(database, "FIN", "10.1.0.0/16")
    with database.writing() as connection:
        add_node(connection, "FIN", NewNode(common_name="gw.example.com"))
        assert find_node(connection, "FIN-1").common_name == "gw.example.com"
        refuse_common_name(connection, "FIN", "Router 2 old")
        refuse_common_name(connection, HUBS, "gw.example.com")
        for name in ("", "a,b", "a=b", 'a"', "\u00e4", " a", "a ", "a\n", "x" * 65, "GW.example.com", "fin-9"):
            with pytest.raises(CaError):
                refuse_common_name(connection, "FIN", name)
        with pytest.raises(CaError):
            refuse_common_name(connection, HUBS, "Hub-7")
