"""``reset`` with a real bgpd and nftables."""

import asyncio
import io
import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.frr import RealBgpd, available
from contract.hub import Hub
from contract.namespaces import needs
from dmvpn_agent.kernel.nftables.program import Nftables
from dmvpn_agent.kernel.nftables.redirect_rule import RedirectRule
from documented import assert_documented

pytestmark = [
    pytest.mark.contract,
    pytest.mark.skipif(not available(), reason="needs root and FRR's bgpd"),
    needs("nft", "nsenter"),
]

OPERATORS = (
    "configure terminal",
    "ip prefix-list operators seq 5 permit 10.0.0.0/8",
    "router bgp 65000",
    "neighbor 10.255.0.77 remote-as 64999",
    "neighbor 10.255.0.77 description mine",
    "end",
)


@pytest.fixture(scope="module")
def bgpd() -> Iterator[RealBgpd]:
    bgpd = RealBgpd()
    bgpd.start()
    yield bgpd
    bgpd.stop()


@pytest.fixture
def hub(bgpd: RealBgpd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub whose nft is that of the bgpd's network namespace, with an operator's configuration."""
    programs = tmp_path / "bin"
    programs.mkdir()
    nft = programs / "nft"
    nft.write_text(f'#!/bin/sh\nexec nsenter -n -t {bgpd.pid} /usr/sbin/nft "$@"\n')
    nft.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    bgpd.fresh(*OPERATORS)
    hub = Hub(bgpd, tmp_path)
    yield hub
    hub.store.close()
    subprocess.run([nft, "flush", "ruleset"], check=True)


@pytest.fixture
def used(hub: Hub, capsys: pytest.CaptureFixture[str]) -> Hub:
    """The hub after its agent had two peers and was stopped."""
    hub.accept(2, 3)
    hub.store.close()
    hub.bgpd.type(*hub.vtysh(capsys))
    asyncio.run(Nftables().install((RedirectRule(("gre1",), 1, 24, 24, 4, 1).section(),)))
    subprocess.run(["nft", "add", "table", "inet", "operators"], check=True)
    return hub


def _tables() -> set[str]:
    done = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True)
    return set(done.stdout.split("\n")) - {""}


def _is_untouched(hub: Hub) -> bool:
    config = hub.bgpd.type("show running-config")
    return config.count("description dmvpn-agent") == 2 and _tables() == {
        "table inet dmvpn_agent", "table inet operators",
    }  # fmt: skip


def test_reset_removes_what_the_agent_owns_and_nothing_else(used: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    """Neighbors, prefix-lists and the nftables table go; the stored peers stay. A second reset finds nothing."""
    assert used.run("reset", "--yes") == 0
    printed = capsys.readouterr().out
    assert "! neighbor 10.255.0.3: remove it, which ends its session" in printed
    assert "Everything was removed." in printed
    assert "The stored peers are kept" in printed
    assert _tables() == {"table inet operators"}
    config = used.bgpd.type("show running-config")
    assert "dmvpn-agent" not in config
    assert "neighbor 10.255.0.77 description mine" in config
    assert "ip prefix-list operators seq 5" in config
    assert used.run("reset", "--yes") == 0
    assert capsys.readouterr().out == "There is nothing of the agent's to remove.\n"
    assert used.run("plan") == 1
    assert "2 accepted peers" in capsys.readouterr().out


def test_forget_removes_the_stored_peers_too(used: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    """No file is left."""
    assert used.run("reset", "--yes", "--forget", "--json") == 0
    result = json.loads(capsys.readouterr().out)["data"]
    assert set(result["left"]) == set(result["found"])
    assert_documented("reset/1", result, opaque={"left"})
    assert result["found"]["store"] == f"2 stored peers in {used.directory}/agent.sqlite"
    assert result["left"] == {
        "anything": False, "changes": [], "vtysh": [], "prefix_lists_in_use": [], "iptables_chains": [],
        "nftables_table": False,
        "tunnels": [], "routes": [], "store": "", "unreadable": [],
    }  # fmt: skip
    assert not list(used.directory.glob("agent.sqlite*"))


@pytest.mark.parametrize("answer", ["", "\n", "n\n", "yellow\n"])
def test_without_a_yes_nothing_is_removed(
    used: Hub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    """The command shows what it would remove; the question goes to standard error."""
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    assert used.run("reset") == 1
    printed = capsys.readouterr()
    assert "table inet dmvpn_agent" in printed.out
    assert printed.out.endswith("Nothing was removed.\n")
    assert "[y/N]" in printed.err
    assert _is_untouched(used)


def test_json_without_yes_removes_nothing(used: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    """A program passes ``--yes``."""
    assert used.run("reset", "--json") == 1
    assert json.loads(capsys.readouterr().out)["data"]["left"]["nftables_table"] is True
    assert _is_untouched(used)


def test_a_typed_yes_is_enough(used: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """``y`` as the answer removes everything."""
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert used.run("reset") == 0
    assert _tables() == {"table inet operators"}


def test_nothing_is_removed_while_an_agent_runs(used: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    """The agent would write everything again."""
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(used.directory / "control.sock"))
        agent.listen()
        assert used.run("reset", "--yes") == 1
    assert "an agent runs" in capsys.readouterr().err
    assert _is_untouched(used)


def test_a_prefix_list_of_an_operators_neighbor_stays(used: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    """Without it the neighbor could announce nothing, or everything."""
    used.bgpd.type("configure terminal", "router bgp 65000", "neighbor 10.255.0.2 description mine", "end")
    assert used.run("reset", "--yes") == 0
    assert "STAYS" in capsys.readouterr().out
    config = used.bgpd.type("show running-config")
    assert "ip prefix-list dmvpn-agent-10.255.0.2-in seq" in config
    assert "dmvpn-agent-10.255.0.3" not in config


def test_another_as_number_in_frr_does_not_matter(used: Hub) -> None:
    """The changes apply to the BGP instance that FRR has."""
    used.config.write_text(used.config.read_text().replace("as_number = 65000", "as_number = 65009"))
    assert used.run("reset", "--yes") == 0
    assert "dmvpn-agent" not in used.bgpd.type("show running-config")


def test_a_refusal_of_frr_is_shown_and_stops_no_other_change(used: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    """With FRR's own words; exit status 1, and the rest is listed."""
    vtysh = used.directory / "vtysh"
    vtysh.write_text(
        '#!/bin/sh\ncase "$*" in *"no neighbor 10.255.0.2"*) echo "% Locked"; exit 1;; esac\n'
        f'exec {used.bgpd.vtysh} "$@"\n'
    )
    vtysh.chmod(0o755)
    used.config.write_text(used.config.read_text().replace(str(used.bgpd.vtysh), str(vtysh)))
    assert used.run("reset", "--yes") == 1
    printed = capsys.readouterr().out
    assert "FRR refuses: % Locked" in printed
    assert "STILL THERE:" in printed
    assert "10.255.0.3" not in printed.split("STILL THERE:")[1]
    assert _tables() == {"table inet operators"}


def test_what_cannot_be_read_is_shown(used: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    """The rest is removed; exit status 2."""
    used.config.write_text(used.config.read_text().replace(str(used.bgpd.directory), "/nowhere"))
    assert used.run("reset", "--yes") == 3
    printed = capsys.readouterr().out
    assert "CANNOT BE READ:\n  /nowhere/vtysh cannot be started" in printed
    assert _tables() == {"table inet operators"}
