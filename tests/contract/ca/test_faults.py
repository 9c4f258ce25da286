"""A full disk, a folder that may not be written to, another program's word about the certificates."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest

from ca_registry import PASSPHRASE, make_registry
from dmvpn_agent.ca import keys
from dmvpn_agent.ca.authorities import issuing_authority
from dmvpn_agent.ca.bundle import chain_pem
from dmvpn_agent.ca.crls import publish
from dmvpn_agent.ca.database import Database
from dmvpn_agent.ca.delivery import Delivery, Form, deliver
from dmvpn_agent.ca.errors import CaError
from dmvpn_agent.ca.node import HUBS
from dmvpn_agent.ca.reading import read_audit, read_holdings, read_nodes, read_settings
from dmvpn_agent.ca.settings import ResourcesIn, Settings
from dmvpn_agent.ca.sites import NewSite, add_node, add_site
from dmvpn_agent.runtime.clocks import utc_now

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], check=False)
    if mounted.returncode:
        pytest.skip("cannot mount")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(folder: Path) -> None:
    """Leave no room in a file system."""
    with (folder / "ballast").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass


def state(database: Database) -> list[object]:
    with database.reading() as connection:
        return [read_nodes(connection), read_holdings(connection), read_audit(connection, 1000)]


def add_hub(database: Database, out: Path) -> None:
    deliver(database, lambda connection: add_node(connection, HUBS), Delivery(Form.PFX, out), PASSPHRASE, utc_now())


def test_no_room_for_the_registry(small: Path, tmp_path: Path) -> None:
    """Nothing is changed, no bundle is left, and with room it goes on."""
    database = make_registry(small / "registry.sqlite", now=utc_now())
    before = state(database)
    fill(small)
    with pytest.raises(CaError, match=r"full.*make room"):
        add_hub(database, tmp_path / "hub.pfx")
    assert state(database) == before
    assert [one for one in tmp_path.iterdir() if one.is_file()] == []
    (small / "ballast").unlink()
    add_hub(database, tmp_path / "again.pfx")


def test_no_room_for_the_bundle(small: Path, tmp_path: Path) -> None:
    """The registry does not know the node either."""
    database = make_registry(tmp_path / "registry.sqlite", now=utc_now())
    before = state(database)
    fill(small)
    with pytest.raises(CaError, match=r"No space left.*make room"):
        add_hub(database, small / "hub.pfx")
    assert state(database) == before
    assert [one.name for one in small.iterdir()] == ["ballast"]


def test_no_room_for_a_new_registry(small: Path) -> None:
    """Nothing is left that the next try would stumble over."""
    fill(small)
    with pytest.raises(CaError, match=r"full|No space"):
        make_registry(small / "registry.sqlite")
    assert [one.name for one in small.iterdir()] == ["ballast"]


def test_no_room_for_the_crl(small: Path, tmp_path: Path) -> None:
    """The one that is published stays whole."""
    database = make_registry(tmp_path / "registry.sqlite")
    (small / "dmvpn-ca.crl").write_bytes(b"the last one")
    fill(small)
    with database.reading() as connection, pytest.raises(CaError, match="make room"):
        publish(connection, read_settings(connection), small)
    assert (small / "dmvpn-ca.crl").read_bytes() == b"the last one"


def test_a_read_only_folder(small: Path) -> None:
    """Reading works; each write is refused with what to do."""
    database = make_registry(small / "registry.sqlite")
    database._engine.dispose()  # a file that is open for writing keeps a file system writable
    subprocess.run(["mount", "-o", "remount,ro", small], check=True)
    before = state(database)
    with pytest.raises(CaError, match=r"readonly.*must be writable"), database.writing() as connection:
        add_site(connection, NewSite("FIN"), None)
    with pytest.raises(CaError, match=r"other\.sqlite: .*that root may write to"):
        make_registry(small / "other.sqlite")
    with database.reading() as connection, pytest.raises(CaError, match=r"dmvpn-ca\.crl: .*that root may write to"):
        publish(connection, read_settings(connection), small)
    assert state(database) == before


@pytest.mark.skipif(shutil.which("pki") is None, reason="needs strongSwan's pki")
@pytest.mark.parametrize("place", list(ResourcesIn))
def test_strongswan_and_openssl_accept_the_certificates(
    tmp_path: Path, place: ResourcesIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chain and CRLs; OpenSSL checks RFC 3779 too, with contiguous prefixes and a CA that has limits."""
    monkeypatch.setattr(keys, "_ROUNDS", 1000)
    database = make_registry(tmp_path / "r", Settings(resources_in=place), with_issuing=True, now=utc_now(),
                             bounded=place is not ResourcesIn.SUBJECT)  # fmt: skip
    now = utc_now()
    with database.writing() as connection:
        prefixes = ("10.1.1.0/24", "10.1.2.0/24", "10.1.3.0/24", "10.9.0.0/16", "fd00:0:1::/48", "fd00:0:2::/47")
        add_site(connection, NewSite("FIN", tuple(map(ip_network, prefixes))), None)
        root, issuing = issuing_authority(connection).above[0], issuing_authority(connection).certificate
        publish(connection, read_settings(connection), tmp_path)
    (tmp_path / "root.pem").write_bytes(chain_pem((root,)))
    (tmp_path / "issuing.pem").write_bytes(chain_pem((issuing,)))
    for site in (HUBS, "FIN"):
        out = tmp_path / f"{site}.pem"
        deliver(database, lambda connection, site=site: add_node(connection, site),  # type: ignore[misc]
                Delivery(Form.PEM, out), PASSPHRASE, now)  # fmt: skip
        leaf = tmp_path / f"{site}-leaf.pem"
        leaf.write_bytes(b"-----BEGIN CERT" + out.read_bytes().split(b"-----BEGIN CERT")[1])
        cas = ("--cacert", tmp_path / "root.pem", "--cacert", tmp_path / "issuing.pem")
        verified = subprocess.run(
            ["pki", "--verify", "--in", leaf, *cas], capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert "certificate trusted" in verified.stdout, verified.stderr
        openssl = subprocess.run(
            ["openssl", "verify", "-x509_strict", "-CAfile", tmp_path / "root.pem", "-untrusted",
             tmp_path / "issuing.pem", leaf], capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert "OK" in openssl.stdout, openssl.stderr
