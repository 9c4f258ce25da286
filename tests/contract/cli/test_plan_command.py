"""``plan`` with a real bgpd, and the store of an agent."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from contract.frr import RealBgpd, available
from contract.hub import Hub
from dmvpn_agent.admission.peer_table import PeerTable
from documented import documented, paths

pytestmark = [pytest.mark.contract, pytest.mark.skipif(not available(), reason="needs root and FRR's bgpd")]


@pytest.fixture(scope="module")
def bgpd() -> Iterator[RealBgpd]:
    bgpd = RealBgpd()
    bgpd.start()
    yield bgpd
    bgpd.stop()


@pytest.fixture
def hub(bgpd: RealBgpd, tmp_path: Path) -> Iterator[Hub]:
    bgpd.fresh()
    hub = Hub(bgpd, tmp_path)
    yield hub
    hub.store.close()


def test_vtysh_accepts_the_printed_plan_and_leaves_nothing_to_do(
    hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    """Comments included. Exit status 1 before, 0 after; ``plan`` itself changes nothing."""
    hub.accept(2, 3)
    before = hub.bgpd.type("show running-config")
    assert hub.run("plan") == 1
    printed = capsys.readouterr().out
    assert hub.bgpd.type("show running-config") == before
    assert "! neighbor 10.255.0.2: add it: AS 64514, peer-group spokes, filter dmvpn-agent-10.255.0.2-in" in printed
    assert "2 accepted peers; 6 changes to 4 neighbors and prefix-lists." in printed
    lines = printed.split("as input of vtysh:\n")[1].split("\n\n")[0].splitlines()
    hub.bgpd.type(*lines)
    assert hub.run("plan") == 0
    assert capsys.readouterr().out == "2 accepted peers; nothing to change in FRR.\n"


def test_a_configuration_is_previewed_before_it_is_in_force(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    """The denied peers, and what they lose. The agent's open store is unchanged."""
    hub.accept(2, 3)
    hub.bgpd.type(*hub.vtysh(capsys))
    hub.config.write_text(hub.config.read_text().replace('["192.168.0.0/16"]', '["192.168.3.0/24"]'))
    assert hub.run("plan") == 1
    printed = capsys.readouterr().out
    assert "STORED PEERS THAT THIS CONFIGURATION DENIES" in printed
    assert "10.255.0.2  prefix_not_allowed" in printed
    assert "no neighbor 10.255.0.2\n" in printed
    assert "10.255.0.3" not in printed
    hub.accept(4)
    assert len(list(PeerTable(hub.store).load())) == 3


def test_operator_neighbors_problems_and_unknown_peers_are_shown(
    hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each with its consequence."""
    hub.bgpd.type("configure terminal", "router bgp 65000", "no neighbor spokes peer-group",
                  "neighbor 10.255.0.2 remote-as 1", "neighbor 10.255.0.2 description mine",
                  "neighbor 10.255.0.9 remote-as 2", "neighbor 10.255.0.9 description dmvpn-agent x")  # fmt: skip
    hub.accept(2)
    assert hub.run("plan", "--json") == 1
    result = json.loads(capsys.readouterr().out)["data"]
    assert result["foreign_neighbors"] == ["10.255.0.2"]
    (problem,) = result["problems"]
    assert "add `neighbor spokes peer-group`" in problem
    assert result["not_stored"] == ["10.255.0.9"]
    assert [change["kind"] for change in result["changes"]] == ["RemoveNeighbor"]
    assert hub.run("plan") == 1
    printed = capsys.readouterr().out
    assert "NOT CHANGED" in printed
    assert "peers that are not stored (10.255.0.9)" in printed


def test_a_closed_store_is_read_without_a_trace(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    """As after a stop of the agent: the command creates no file."""
    hub.accept(2)
    hub.store.close()
    before = sorted(hub.directory.iterdir())
    assert hub.run("plan") == 1
    assert "1 accepted peers" in capsys.readouterr().out
    assert sorted(hub.directory.iterdir()) == before


def _add_a_column(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("ALTER TABLE peers ADD COLUMN note TEXT")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda hub: (hub.store.close(), (hub.directory / "agent.sqlite").unlink()), "agent.sqlite is missing"),
        (lambda hub: _add_a_column(hub.directory / "agent.sqlite"), "schema"),
        (lambda hub: (hub.store.close(), (hub.directory / "agent.sqlite").write_text("x" * 4096)), "not a database"),
        (lambda hub: hub.config.write_text(hub.config.read_text().replace(str(hub.bgpd.directory), "/nowhere")),
         "vtysh cannot be started"),
    ],
    ids=["no store", "another schema", "no database", "no FRR"],
)  # fmt: skip
def test_what_cannot_be_read_is_exit_status_2(
    hub: Hub, capsys: pytest.CaptureFixture[str], spoil: Callable[[Hub], object], message: str
) -> None:
    """One line on standard error names it."""
    spoil(hub)
    assert hub.run("plan") == 3
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err
    assert printed.err.count("\n") == 1


def test_without_bgp_there_is_nothing_to_plan(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    """As on a spoke whose operator configures BGP."""
    hub.config.write_text(hub.config.read_text().replace("[bgp]", "[bgp]\nenabled = false"))
    assert hub.run("plan") == 0
    assert "does not manage BGP" in capsys.readouterr().out


def test_the_document_is_documented(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    """With changes and a denied peer; another test has the key of --nftables."""
    hub.accept(2, 3)
    hub.config.write_text(hub.config.read_text().replace('["192.168.0.0/16"]', '["192.168.3.0/24"]'))
    assert hub.run("plan", "--json") == 1
    found = paths(json.loads(capsys.readouterr().out)["data"], opaque={"tunnels"})
    assert found == {path for path in documented("plan/1") if not path.startswith("nftables.")}
