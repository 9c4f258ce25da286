"""``dmvpn-agent ca``: from nothing to nodes with certificates, as an operator does it."""

import json
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import pkcs12

from dmvpn_agent.ca import keys
from dmvpn_agent.cli.main import main
from dmvpn_agent.config.peers import read_peers
from dmvpn_agent.config.table import Table
from dmvpn_agent.x509.private_key import new_key

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here")


class Ca:
    """Runs actions of ``ca`` on a registry in a folder."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys
        (folder / "passphrase").write_text("correct horse battery\n")

    def run(self, *words: str) -> tuple[int, dict[str, Any]]:
        self._capsys.readouterr()
        status = main(["ca", *words, "--json", "--database", str(self.folder / "registry.sqlite")])
        return status, json.loads(self._capsys.readouterr().out)

    def do(self, *words: str) -> Any:
        status, answer = self.run(*words)
        assert (status, answer["ok"], answer["error"]) == (0, True, None)
        return answer["data"]

    def signing(self, *words: str) -> Any:
        return self.do(*words, "--passphrase-file", str(self.folder / "passphrase"))

    def refused(self, *words: str) -> str:
        status, answer = self.run(*words)
        assert (status, answer["ok"], answer["data"]) == (1, False, None)
        return str(answer["error"])


@pytest.fixture
def ca(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Ca:
    monkeypatch.setattr(keys, "_ROUNDS", 1000)
    monkeypatch.chdir(tmp_path)
    made = Ca(tmp_path, capsys)
    (tmp_path / "www").mkdir()
    made.signing(
        "init", "--tunnel", "10.255.0.0/24", "--sites", "10.0.0.0/8", "--crl-directory", "www", "--issuing-ca"
    )
    return made


def test_from_nothing_to_nodes(ca: Ca) -> None:
    """One command a hub, a site, a node; the bundle opens with its password and has key, certificate and both CAs."""
    hub = ca.signing("hub", "add")
    site = ca.do("site", "add", "FIN", "--prefix", "10.1.0.0/16", "--prefix-length", "24")
    node = ca.signing("node", "add", "FIN", "--password-file", "password")
    assert (hub["name"], hub["role"], hub["addresses"]) == ("Hub-1", "hub", ["10.255.0.1"])
    assert site["prefixes"] == ["10.1.0.0/16", "10.2.0.0/24"] == node["prefixes"]
    assert node["password"] is None
    for name, password in (("Hub-1", hub["password"]), ("FIN-1", Path("password").read_text().strip())):
        loaded = pkcs12.load_pkcs12(Path(f"{name}.pfx").read_bytes(), password.encode())
        assert loaded.key
        assert loaded.cert
        assert len(loaded.additional_certs) == 2
    assert [one["name"] for one in ca.do("list")["nodes"]] == ["Hub-1", "FIN-1"]
    assert ca.do("show", "FIN")["nodes"] == ["FIN-1"]
    assert ca.do("show", "fin-1")["certificates"][0]["serial"] == node["certificate"]["serial"]


@needs_openssl
def test_openssl_agrees(ca: Ca, tmp_path: Path) -> None:
    """Chain, validity and CRLs, as another program checks them."""
    ca.signing("node", "add", "Hubs", "--pem", "--out", "hub.pem")
    ca.do("certificates", "--out", str(tmp_path))
    Path("all.pem").write_bytes(
        b"".join((tmp_path / name).read_bytes() for name in ("dmvpn-root-ca.pem", "dmvpn-issuing-ca.pem"))
    )
    for name in ("dmvpn-root-ca.crl", "dmvpn-ca.crl"):
        crl = subprocess.run(
            ["openssl", "crl", "-inform", "DER", "-in", f"www/{name}"], capture_output=True, check=True
        )
        with Path("all.pem").open("ab") as file:
            file.write(crl.stdout)
    verify = ["openssl", "verify", "-x509_strict", "-crl_check_all", "-CAfile", "all.pem", "hub.pem"]
    assert subprocess.run(verify, capture_output=True, check=True).stdout == b"hub.pem: OK\n"
    ca.signing("revoke", "Hub-1", "--reason", "keyCompromise")
    crl = subprocess.run(
        ["openssl", "crl", "-inform", "DER", "-in", "www/dmvpn-ca.crl"], capture_output=True, check=True
    )
    Path("all.pem").write_bytes(Path("all.pem").read_bytes().split(b"-----BEGIN X509 CRL")[0] + crl.stdout)
    verify.remove("-crl_check_all")
    after = subprocess.run([*verify[:2], "-crl_check", *verify[2:]], capture_output=True, check=False)
    assert b"certificate revoked" in after.stderr


def test_revoke_hold_renew_remove(ca: Ca) -> None:
    """Each says which certificates it changed, and the CRL is published at once."""
    first = ca.signing("hub", "add")["certificate"]["serial"]
    published = Path("www/dmvpn-ca.crl").read_bytes()
    assert ca.signing("hold", "Hub-1")["revoked"] == [first]
    assert Path("www/dmvpn-ca.crl").read_bytes() != published
    assert ca.signing("release", "Hub-1")["released"] == [first]
    assert ca.signing("renew", "Hub-1", "--revoke-others", "--out", "new.pfx")["revoked"] == [first]
    assert len(ca.do("node", "remove", "Hub-1")["revoked"]) == 1
    before = ca.do("crl", "--if-due", "--passphrase-file", "passphrase")["crls"]
    assert ca.do("crl", "--if-due")["crls"] == before  # nothing is due: it does not even ask
    assert ca.do("list", "audit")["audit"][-1]["action"] == "node remove"


@needs_openssl
def test_a_request_keeps_the_key_at_the_node(ca: Ca) -> None:
    """openssl makes key and request; the answer is the chain."""
    new = ["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384", "-nodes",
           "-keyout", "key.pem", "-subj", "/CN=anything", "-out", "node.csr"]  # fmt: skip
    subprocess.run(new, capture_output=True, check=True)
    ca.signing("hub", "add", "--csr", "node.csr", "--out", "hub.pem")
    assert Path("hub.pem").read_text().count("BEGIN CERTIFICATE") == 3
    assert "KEY" not in Path("hub.pem").read_text()


@needs_openssl
def test_what_init_was_told_can_change(ca: Ca) -> None:
    """What is not named stays; the next certificate and CRL have it."""
    assert ca.do("set")["node_days"] == 365
    changed = ca.do("set", "--hub-host", "hub.example", "--crl-url", "http://crl.example/a.crl", "--crl-hours", "2")
    assert (changed["hub_hosts"], changed["node_days"], changed["crl_hours"]) == (["hub.example"], 365, 2)
    ca.signing("hub", "add", "--pem")
    text = subprocess.run(["openssl", "x509", "-in", "Hub-1.pem", "-noout", "-text"], capture_output=True, check=True)
    assert b"http://crl.example/a.crl" in text.stdout
    ca.signing("crl")
    assert Path("www/a.crl").exists()
    assert 'tunnel_networks = ["10.255.0.0/24"]' in ca.do("answers", "hub-1")["answers"]
    assert "is no URL" in ca.refused("set", "--crl-url", "x")


def test_all_that_need_a_certificate_get_one(ca: Ca) -> None:
    """New ones and those whose certificate ends; each once, and those that were revoked not at all."""
    ca.signing("hub", "add")
    for _ in range(3):
        ca.do("hub", "add", "--no-certificate")
    ca.signing("renew", "Hub-2", "--out", "revoked.pfx")
    ca.signing("revoke", "Hub-2")
    Path("out").mkdir()
    assert [one["name"] for one in ca.signing("issue", "out")["issued"]] == ["Hub-3", "Hub-4"]
    loaded = pkcs12.load_pkcs12(Path("out/Hub-3.pfx").read_bytes(), Path("out/Hub-3.password").read_bytes().strip())
    assert loaded.key
    assert ca.do("issue", "out")["issued"] == []  # it does not even ask
    assert "Hub-1: " not in ca.refused("issue", "out", "--days", "400", "--passphrase-file", "wrong")
    Path("all").mkdir()
    assert len(ca.signing("issue", "all", "--days", "400")["issued"]) == 3
    assert "1 of 3 nodes have their bundle" in partly(ca)


def partly(ca: Ca) -> str:
    """One bundle is there already, so the second node is refused."""
    Path("part").mkdir()
    Path("part/Hub-3.pfx").touch()
    return ca.refused("issue", "part", "--days", "400", "--passphrase-file", "passphrase")


def test_another_passphrase(ca: Ca) -> None:
    """The former one no longer opens the keys."""
    Path("next").write_text("another horse\n")
    assert ca.signing("passphrase", "--new-passphrase-file", "next")["changed"] == ["root", "issuing"]
    assert "passphrase is wrong" in ca.refused("hub", "add", "--passphrase-file", "passphrase")
    assert ca.do("hub", "add", "--passphrase-file", "next")["name"] == "Hub-1"


def test_the_roots_crl_with_its_key_from_elsewhere(ca: Ca) -> None:
    """Only with the key; and another key is refused."""
    place = ("--database", "second.sqlite", "--passphrase-file", "passphrase", "--json")
    assert main(["ca", "init", "--tunnel", "10.0.0.0/24", "--issuing-ca", "--root-key", "root.pem", *place]) == 0
    Path("crls").mkdir()
    assert main(["ca", "crl", "--directory", "crls", *place]) == 0
    first = Path("crls/dmvpn-root-ca.crl").read_bytes()
    assert main(["ca", "crl", "--directory", "crls", "--root-key", "root.pem", *place]) == 0
    assert Path("crls/dmvpn-root-ca.crl").read_bytes() != first
    Path("other.pem").write_text(keys.encrypted(new_key(), b"correct horse battery"))
    assert main(["ca", "crl", "--directory", "crls", "--root-key", "other.pem", *place]) == 1


def test_what_was_done_is_said_if_its_publication_fails(ca: Ca) -> None:
    """The certificate is revoked, whatever happens to the file."""
    ca.signing("hub", "add")
    Path("www").rename("gone")
    assert "the registry has the change" in ca.refused("revoke", "Hub-1", "--passphrase-file", "passphrase")
    assert ca.do("list")["nodes"][0]["certificate"].startswith("revoked")
    Path("gone").rename("www")
    ca.do("crl", "--if-due")
    assert "is not a directory" in ca.refused("init", "--tunnel", "10.0.0.0/8", "--crl-directory", "missing",
                                        "--passphrase-file", "passphrase")  # fmt: skip


def test_the_cas_list_is_what_a_node_expects(ca: Ca, capsys: pytest.CaptureFixture[str]) -> None:
    """A hub expects all other nodes in service, a spoke the hubs; the rows are those that the agent reads."""
    ca.signing("hub", "add")
    for site in ("FIN", "SWE", "NOR"):
        ca.do("site", "add", site, "--prefix-length", "24")
        ca.signing("node", "add", site)
    ca.signing("revoke", "NOR-1")

    def expected(node: str) -> list[str]:
        assert main(["ca", "expected", node, "--database", str(ca.folder / "registry.sqlite")]) == 0
        rows = read_peers(Table("peers", tomllib.loads(capsys.readouterr().out)["peers"])).expected
        assert [row.protocol_address and str(row.protocol_address) for row in rows] == [
            row["protocol_address"] for row in ca.do("expected", node)["expected"]
        ]
        return [row.name for row in rows]

    capsys.readouterr()
    assert expected("hub-1") == ["FIN-1", "SWE-1"]
    assert expected("FIN-1") == ["Hub-1"]


def test_a_backup_and_a_table(ca: Ca) -> None:
    """By the commands."""
    Path("nodes.csv").write_text("site,node,addresses,prefixes,as_number\nFIN,1,,10.1.0.0/16,\n")
    assert ca.do("import", "nodes.csv")["nodes"] == ["FIN-1"]
    ca.do("backup", "saved")
    assert "exists already" in ca.refused("backup", "saved")
    assert main(["ca", "restore", "saved", "--database", "other.sqlite"]) == 0
    assert main(["ca", "list", "--database", "other.sqlite"]) == 0
    assert "not a database of dmvpn-ca" in ca.refused("import-dmvpn-ca", "saved")


def test_what_is_refused_changes_nothing(ca: Ca) -> None:
    """A wrong passphrase, an overlap, a file that is there, an unknown node: each is named."""
    ca.do("site", "add", "FIN", "--prefix", "10.1.0.0/16")
    Path("wrong").write_text("another horse\n")
    Path("FIN-1.pfx").touch()
    before = ca.do("list", "holdings"), ca.do("list", "audit")
    add = ("node", "add", "FIN", "--passphrase-file")
    assert "passphrase is wrong" in ca.refused(*add, "wrong")
    assert "FIN-1.pfx exists already; move it away, or name another file (--out)" in ca.refused(*add, "passphrase")
    assert "directory" in ca.refused(*add, "passphrase", "--out", "missing/x.pfx")
    assert "overlaps 10.1.0.0/16 of FIN" in ca.refused("site", "add", "SWE", "--prefix", "10.1.2.0/24")
    assert "no node 'FIN-9'" in ca.refused("revoke", "FIN-9", "--passphrase-file", "passphrase")
    assert "only a PFX file" in ca.refused("hub", "add", "--pem", "--password-file", "x")
    assert "there is a registry already" in ca.refused("init", "--tunnel", "10.0.0.0/8", "--passphrase-file", "wrong")
    assert (ca.do("list", "holdings"), ca.do("list", "audit")) == before
    assert Path("FIN-1.pfx").read_bytes() == b""


def test_without_json_it_is_for_people(ca: Ca, capsys: pytest.CaptureFixture[str]) -> None:
    """A refusal is one line on standard error."""
    registry = ["--database", str(ca.folder / "registry.sqlite")]
    assert main(["ca", "site", "add", "FIN", "--prefix", "10.1.0.0/16", *registry]) == 0
    assert "ca node add FIN" in capsys.readouterr().out
    assert main(["ca", "site", "add", "FIN", *registry]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "words", [[], ["pool", "add", "x", "y"], ["init"], ["site", "add", "A", "--prefix", "10.1.0.1/8"]]
)
def test_wrong_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2, as for every command."""
    assert main(["ca", *words]) == 2
    assert capsys.readouterr().err
