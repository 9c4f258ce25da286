"""``plan`` with a real bgpd, and the store of an agent."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from contract.frr import RealBgpd, available
from contract.hub import Hub
from dmvpn_agent.admission.peer_table import PeerTable

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


def test_what_plan_prints_is_taken_by_vtysh_as_it_is_and_leaves_nothing_to_do(
    hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    """Words and lines together; exit status 1 before, 0 after, and plan itself changes nothing."""
    hub.accept(2, 3)
    before = hub.bgpd.type("show running-config")
    assert hub.run("plan") == 1
    printed = capsys.readouterr().out
    assert hub.bgpd.type("show running-config") == before
    assert "! neighbor 10.255.0.2: add it: AS 64514, peer-group spokes, filter dmvpn-agent-10.255.0.2-in" in printed
    assert "2 accepted peers; 6 changes to 4 neighbors and prefix-lists." in printed
    lines = printed.split("as vtysh would be given them:\n")[1].split("\n\n")[0].splitlines()
    hub.bgpd.type(*lines)
    assert hub.run("plan") == 0
    assert capsys.readouterr().out == "2 accepted peers; nothing to change in FRR.\n"


def test_a_configuration_is_previewed_before_it_is_in_force(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    """Whom it denies, and what they lose; the open store of the agent is as it was."""
    hub.accept(2, 3)
    hub.bgpd.type(*hub.vtysh(capsys))
    hub.config.write_text(hub.config.read_text().replace('["192.168.0.0/16"]', '["192.168.3.0/24"]'))
    assert hub.run("plan") == 1
    printed = capsys.readouterr().out
    assert "DENIED BY THIS CONFIGURATION" in printed
    assert "10.255.0.2  prefix_not_allowed" in printed
    assert "no neighbor 10.255.0.2\n" in printed
    assert "10.255.0.3" not in printed
    hub.accept(4)
    assert len(list(PeerTable(hub.store).load())) == 3


def test_foreign_neighbors_problems_and_strangers_are_told(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    """Each with what will come of it."""
    hub.bgpd.type("configure terminal", "router bgp 65000", "no neighbor spokes peer-group",
                  "neighbor 10.255.0.2 remote-as 1", "neighbor 10.255.0.2 description mine",
                  "neighbor 10.255.0.9 remote-as 2", "neighbor 10.255.0.9 description dmvpn-agent x")  # fmt: skip
    hub.accept(2)
    assert hub.run("plan", "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert told["foreign_neighbors"] == ["10.255.0.2"]
    assert told["problems"] == [
        "FRR has no peer-group spokes; add `neighbor spokes peer-group` or see to bgp.peer_group and the like"
    ]
    assert told["not_stored"] == ["10.255.0.9"]
    assert [change["kind"] for change in told["changes"]] == ["RemoveNeighbor"]
    assert hub.run("plan") == 1
    printed = capsys.readouterr().out
    assert "LEFT ALONE, because somebody else wrote the neighbor" in printed
    assert "removed only\nfrr.linger_seconds after the agent's start" in printed


def test_a_closed_store_is_read_without_a_trace(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    """As after the agent was stopped: no file is left behind that was not there."""
    hub.accept(2)
    hub.store.close()
    before = sorted(hub.directory.iterdir())
    assert hub.run("plan") == 1
    assert "1 accepted peers" in capsys.readouterr().out
    assert sorted(hub.directory.iterdir()) == before


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda hub: (hub.store.close(), (hub.directory / "agent.sqlite").unlink()), "agent.sqlite is missing"),
        (lambda hub: hub.store.db.execute("PRAGMA user_version=1"), "has schema 1, this program 2"),
        (lambda hub: (hub.store.close(), (hub.directory / "agent.sqlite").write_text("x" * 4096)), "not a database"),
        (lambda hub: hub.config.write_text(hub.config.read_text().replace(str(hub.bgpd.directory), "/nowhere")),
         "vtysh cannot be started"),
    ],
    ids=["no store", "an older store", "no database", "no FRR"],
)  # fmt: skip
def test_what_cannot_be_read_is_exit_status_2(
    hub: Hub, capsys: pytest.CaptureFixture[str], spoil: Callable[[Hub], object], told: str
) -> None:
    """And one line on standard error says which."""
    spoil(hub)
    assert hub.run("plan") == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert told in printed.err
    assert printed.err.count("\n") == 1


def test_without_bgp_there_is_nothing_to_plan(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    """As on a spoke that leaves it to the operator."""
    hub.config.write_text(hub.config.read_text().replace("[bgp]", "[bgp]\nenabled = false"))
    assert hub.run("plan") == 0
    assert "does not manage BGP" in capsys.readouterr().out
