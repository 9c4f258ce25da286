"""docs/json.md describes every document; those that need a node are compared beside the tests of their commands."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from dmvpn_agent.ca import keys
from dmvpn_agent.cli import renew
from dmvpn_agent.cli.main import main
from dmvpn_agent.renewal.renewer import Outcome
from dmvpn_agent.renewal.state import RenewalState
from dmvpn_agent.runtime.document import Code
from dmvpn_agent.view.sa_json import ike_sa_json
from documented import TEXT, assert_documented, paths, section
from factories import NOW
from joining import sa
from old_dmvpn_ca import make_database

PACKAGE = Path(__file__).parents[3] / "agent" / "dmvpn_agent"
#: Those of which the name of the command is a part in the code.
LOOKS = {"status/1", "peers/1", "peer/1", "sas/1", "history/1"}


def test_every_schema_is_described() -> None:
    """Each that the code names, and no other one."""
    named = {one for file in PACKAGE.rglob("*.py") for one in re.findall(r'[(]"([a-z-]+/\d)"', file.read_text())}
    described = set(re.findall(r"^### `([a-z-]+/\d)`$", TEXT, re.MULTILINE))
    assert described == (named | LOOKS) - {"error/1"}


def test_every_code_of_an_error_is_described() -> None:
    """In the text at the beginning."""
    sentence = TEXT.split("`code` is one of ")[1].split(";")[0]
    assert set(re.findall(r"`(\w+)`", sentence)) == {str(code) for code in Code}


def test_ike_sas() -> None:
    """As `sas` prints them, with the peer's name."""
    assert_documented("sas/1", [{"peer": "spoke1", **ike_sa_json(sa(1).sa)}])


def test_a_renewal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Each key."""

    async def renewed(*_: object, **__: object) -> Outcome:
        return Outcome(RenewalState(due=NOW, not_after=NOW), renewed=True)

    monkeypatch.setattr(renew, "_renew", renewed)
    file = tmp_path / "agent.toml"
    file.write_text('role = "spoke"\n[policy]\ntunnel_networks = ["10.255.0.0/24"]\nca_certificates = []\n'
                    '[bgp]\nas_number = 65000\n')  # fmt: skip
    assert main(["renew", "--json", "--config", str(file)]) == 0
    assert_documented("renew/1", json.loads(capsys.readouterr().out)["data"])


class Ca:
    """Runs actions of ``ca``, and keeps the keys of what each printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.found: dict[str, set[str]] = {}
        self._capsys = capsys

    def __call__(self, action: str, *words: str, database: str = "registry") -> None:
        place = ("--json", "--database", database)
        status = main(["ca", *action.split(), *words, *place])
        answer = json.loads(self._capsys.readouterr().out)
        assert (status, answer["schema"]) == (0, "ca/1"), answer
        self.note(action, answer["data"])

    def note(self, action: str, data: Any) -> None:
        self.found.setdefault(action, set()).update(paths(data, opaque={"rows"}))


def test_each_action_of_the_ca(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each action has the keys of its row, and no other one. `serve` prints its one key when it is stopped."""
    monkeypatch.setattr(keys, "_ROUNDS", 1000)
    monkeypatch.chdir(tmp_path)
    Path("secret").write_text("correct horse battery\n")
    Path("folder").mkdir()
    signing = "--passphrase-file", "secret"
    ca = Ca(capsys)
    ca("init", "--tunnel", "10.255.0.0/24", "--sites", "10.0.0.0/8", "--crl-directory", "folder", *signing)
    ca("hub add", *signing)
    ca("site add", "FIN", "--prefix", "10.1.0.0/16")
    ca("node add", "FIN", *signing)
    for change in ("prefix add", "prefix remove"):
        ca(change, "FIN", "10.3.0.0/24")
    ca("pool add", "site", "172.16.0.0/16")
    for what in ("nodes", "sites", "holdings", "pools", "authorities", "audit"):
        ca(f"list {what}")
    ca("show", "FIN")
    ca.found["show SITE"] = ca.found.pop("show")
    ca("show", "FIN-1")
    ca.found["show NODE"] = ca.found.pop("show")
    for action in ("answers", "expected", "token"):
        ca(action, "FIN-1")
    ca("certificates", "--out", "folder")
    ca("set")
    ca("upgrade")
    ca("renew", "Hub-1", "--out", "new.pfx", "--revoke-others", *signing)
    for action in ("hold", "release", "revoke"):
        ca(action, "Hub-1", *signing)
    ca("crl", *signing)
    ca("hub add", "--no-certificate")
    ca("issue", "folder", *signing)
    ca("backup", "saved")
    ca("restore", "saved", database="other")
    Path("nodes.csv").write_text("site,node,addresses,prefixes,as_number\nSWE,1,,10.7.0.0/16,\n")
    ca("import", "nodes.csv")
    make_database(Path("old"))
    ca("import-dmvpn-ca", "old", *signing, database="imported")
    for action, name in (("node remove", "FIN-1"), ("hub remove", "Hub-2"), ("site remove", "FIN")):
        ca(action, name)
    Path("next").write_text("another horse\n")
    ca("passphrase", *signing, "--new-passphrase-file", "next")
    rows = re.findall(r"^\| (`.+?) \| (.+) \|$", section("ca/1"), re.MULTILINE)
    described = {
        action: set(re.findall(r"`([a-z0-9_.\[\]]+)`", text))
        for actions, text in rows
        for action in re.findall(r"`([^`]+)`", actions)
    }
    assert described.pop("serve") == {"stopped"}
    assert ca.found == described
