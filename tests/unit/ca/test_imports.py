"""Registries from files: backups, tables, dmvpn-ca's database."""

import gzip
import sqlite3
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import select

from ca_registry import NOW, PASSPHRASE, make_registry, signer_of
from dmvpn_agent.ca import keys, schema
from dmvpn_agent.ca.backup import backup, restore
from dmvpn_agent.ca.crls import make_crl
from dmvpn_agent.ca.csv_import import import_rows, read_rows
from dmvpn_agent.ca.database import Database
from dmvpn_agent.ca.dmvpn_ca import OldConfiguration, read_old_configuration, read_old_database
from dmvpn_agent.ca.dmvpn_ca_import import import_dmvpn_ca
from dmvpn_agent.ca.errors import CaError
from dmvpn_agent.ca.issuing import certificates_of, issue
from dmvpn_agent.ca.node import HUBS
from dmvpn_agent.ca.reading import find_node, find_site, read_holdings, read_nodes
from dmvpn_agent.ca.sites import NewSite, add_node, add_site
from dmvpn_agent.x509.authorities import read_authority
from dmvpn_agent.x509.certificate import Certificate
from dmvpn_agent.x509.certificate_reader import read_certificate
from dmvpn_agent.x509.crl import read_crls
from dmvpn_agent.x509.private_key import new_key
from dmvpn_agent.x509.trust_store import TrustStore
from old_dmvpn_ca import CONFIGURATION, make_database


@pytest.fixture(autouse=True)
def quick_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "_ROUNDS", 1000)


def filled(place: Path) -> Database:
    database = make_registry(place, with_issuing=True)
    with database.writing() as connection:
        add_site(connection, NewSite("FIN", (ip_network("10.1.0.0/16"), ip_network("fd00::/48"))), None)
        for site in (HUBS, "FIN"):
            node = find_node(connection, add_node(connection, site))
            issue(connection, signer_of(connection), node, new_key().public_key(), NOW)
    return database


def rows_of(database: Database) -> dict[str, list[tuple[object, ...]]]:
    with database.reading() as connection:
        return {table.name: [tuple(row) for row in connection.execute(select(table))]
                for table in schema.metadata.sorted_tables}  # fmt: skip


def test_a_backup_restores_everything(tmp_path: Path) -> None:
    """Every row; the restored registry goes on where the other one was."""
    first = filled(tmp_path / "first")
    second = Database(str(tmp_path / "second"))
    restore(second, backup(first))
    before, after = rows_of(first), rows_of(second)
    assert [row[3] for row in after["audit"]][-1] == "restore"
    assert after.pop("audit")[:-1] == before.pop("audit")
    assert after == before
    with second.writing() as connection:
        node = find_node(connection, add_node(connection, "FIN"))
        assert (node.name, node.addresses) == ("FIN-2", (ip_address("10.255.0.3"),))
        issue(connection, signer_of(connection), node, new_key().public_key(), NOW)


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "flipped", "other", "version", "row missing"])
def test_a_damaged_backup_restores_nothing(tmp_path: Path, damage: str) -> None:
    """And the place stays empty."""
    data = backup(filled(tmp_path / "first"))
    lines = gzip.decompress(data).split(b"\n")
    damaged = {
        "empty": b"",
        "text": b"no backup",
        "cut": data[:-20],
        "flipped": data[:300] + bytes([data[300] ^ 1]) + data[301:],
        "other": gzip.compress(b'{"format": "another"}'),
        "version": gzip.compress(lines[0].replace(b'"0001"', b'"0000"') + b"\n" + lines[1]),
        "row missing": gzip.compress(b"\n".join(lines[:-1])),
    }[damage]
    with pytest.raises(CaError, match=r"nothing was restored|version 0000"):
        restore(Database(str(tmp_path / "second")), damaged)
    assert not (tmp_path / "second").exists()


def test_a_backup_is_not_restored_over_a_registry(tmp_path: Path) -> None:
    """Which would be lost."""
    first = filled(tmp_path / "first")
    before = rows_of(first)
    with pytest.raises(CaError, match="already"):
        restore(first, backup(first))
    assert rows_of(first) == before


def test_a_table_becomes_sites_and_nodes(tmp_path: Path) -> None:
    """In the order of its lines; what it leaves out comes from the pools."""
    table = b"""site,node,addresses,prefixes,as_number
Hubs,1,10.255.0.1,,
FIN,1,10.255.0.10,10.1.0.0/16 fd00:0:1::/48,64515
FIN,3,,10.3.0.0/16,
SWE,,,10.2.0.0/16,
"""
    database = make_registry(tmp_path / "r")
    with database.writing() as connection:
        assert import_rows(connection, read_rows(table)) == ["Hub-1", "FIN-1", "FIN-3"]
        assert find_node(connection, "FIN-3").addresses == (ip_address("10.255.0.11"),)
        assert (len(find_site(connection, "FIN").prefixes), find_site(connection, "FIN").as_number) == (3, 64515)
        assert find_site(connection, "SWE").nodes == ()
        assert add_node(connection, "FIN") == "FIN-4"


@pytest.mark.parametrize(("line", "words"), [
    ("FIN,x,,,", "line 3"), ("FIN,1,10.255.0.1,,", "line 3: 10.255.0.1 overlaps 10.255.0.1 of A-1"),
    ("FIN,1,,10.1.0.1/16,", "line 3: 10.1.0.1/16 has host bits"), ("FIN,1,,,0", "line 3"),
    ("\xff\xfe", "line 3|not CSV"), ("A,1,,,", "line 3: A-1 is there already"), ('"FIN', "not CSV"),
])  # fmt: skip
def test_a_bad_line_is_named_and_nothing_is_imported(tmp_path: Path, line: str, words: str) -> None:
    """Not even the lines before it."""
    database = make_registry(tmp_path / "r")
    data = f"site,node,addresses,prefixes,as_number\nA,1,10.255.0.1,,\n{line}\n".encode("latin-1")

    def attempt() -> None:
        with database.writing() as connection:
            import_rows(connection, read_rows(data))

    with pytest.raises(CaError, match=words):
        attempt()
    with database.reading() as connection:
        assert read_nodes(connection) == []


def test_a_table_of_other_columns_is_refused() -> None:
    """With the ones that are needed."""
    with pytest.raises(CaError, match=r"no column node, addresses.*its first line is site,node"):
        read_rows(b"site,prefixes,as_number\nA,,\n")


@pytest.mark.parametrize("password", [None, b"old password"])
def test_dmvpn_cas_network_goes_on(tmp_path: Path, password: bytes | None) -> None:
    """Its certificates stay good, what was revoked stays revoked, and the same CA issues the next ones."""
    old_ca = make_database(tmp_path / "old", password)
    configuration = read_old_configuration(CONFIGURATION)
    old = read_old_database(tmp_path / "old", configuration)
    database = Database(str(tmp_path / "new"))
    made = import_dmvpn_ca(database, old, configuration, (), password, PASSPHRASE)
    now = datetime.now(UTC)
    assert made.nodes == ("Hub-1", "Hub-2", "FIN-1", "FIN-2", "SWE-1")
    assert made.networks.tunnels == (ip_network("172.18.0.0/16"), ip_network("fd00::/96"))
    assert made.networks.sites == (ip_network("10.0.0.0/8"), ip_network("fd00::/32"))
    with database.writing() as connection:
        signer = signer_of(connection, now)
        store = TrustStore([read_authority(signer.authority.chain_der[0])])
        for name in made.nodes:
            node = find_node(connection, name)
            (before,) = certificates_of(connection, node.id)
            assert (before.reason is None) is (name != "FIN-1")
            renewed = issue(connection, signer, node, new_key().public_key(), now)
            assert renewed.issuer.public_bytes() == x509.load_pem_x509_certificate(old_ca.root).subject.public_bytes()
            first, second = (read_certificate(der) for der in (before.der, renewed.public_bytes(Encoding.DER)))
            assert isinstance(first, Certificate)
            assert isinstance(second, Certificate)
            assert store.chains(second).found
            if name != "FIN-2":  # it has a name of its own, which the lab's certificates do not have
                assert second.identity == first.identity
            assert second.resources == first.resources
            assert second.hub_hosts == first.hub_hosts
        crl = make_crl(connection, signer, timedelta(hours=1), now)
    (published,) = read_crls(crl.der)
    assert set(published.serials) == {3}
    assert published.number
    assert published.number > 41


def test_what_is_not_dmvpn_cas_is_refused(tmp_path: Path) -> None:
    """Another database, no database, nothing, a wrong password; and no registry is made."""
    make_database(tmp_path / "old", b"old password")
    sqlite3.connect(tmp_path / "other").execute("CREATE TABLE x (y)")
    (tmp_path / "text").write_text("text " * 1000)
    for name in ("other", "text", "missing"):
        with pytest.raises(CaError, match=r"dmvpn-ca"):
            read_old_database(tmp_path / name, OldConfiguration())
    old = read_old_database(tmp_path / "old", OldConfiguration())
    for password, words in ((None, "is encrypted"), (b"wrong", "decrypted with this password")):
        with pytest.raises(CaError, match=words):
            import_dmvpn_ca(Database(str(tmp_path / "new")), old, OldConfiguration(), (), password, PASSPHRASE)
    with pytest.raises(CaError, match="cannot be read"):
        read_old_configuration(b"hub: [")
    assert not (tmp_path / "new").exists()


def test_everything_that_was_given_is_in_the_registry(tmp_path: Path) -> None:
    """Addresses, subnets and AS numbers, each with its owner."""
    make_database(tmp_path / "old")
    old = read_old_database(tmp_path / "old", OldConfiguration())
    database = Database(str(tmp_path / "new"))
    import_dmvpn_ca(database, old, OldConfiguration(), (), None, PASSPHRASE)
    with database.reading() as connection:
        given = {str(one.block): one.owner for one in read_holdings(connection) if one.owner}
        assert find_node(connection, "FIN-2").common_name == "backup"
    assert given == {
        "172.18.0.1": "Hub-1", "172.18.0.2": "Hub-2", "172.18.1.1": "FIN-1", "172.18.1.2": "FIN-2",
        "172.18.2.1": "SWE-1", "fd00::1": "Hub-1", "fd00::2": "Hub-2", "fd00::1:1": "FIN-1", "fd00::1:2": "FIN-2",
        "fd00::2:1": "SWE-1", "10.1.0.0/16": "FIN", "10.2.0.0/16": "SWE", "fd00:0:1::/48": "FIN",
        "fd00:0:2::/48": "SWE", "65001": "SWE",
    }  # fmt: skip
