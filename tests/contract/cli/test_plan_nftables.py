"""``plan --nftables`` beside a real nft."""

import asyncio
import json
from pathlib import Path

import pytest

from contract.namespaces import command, in_network_namespace, needs
from dmvpn_agent.admission.peer_table import PeerTable
from dmvpn_agent.cli.main import main
from dmvpn_agent.config.file import load
from dmvpn_agent.kernel.nftables.program import Nftables
from dmvpn_agent.kernel.nftables.reconciler import TableReconciler
from dmvpn_agent.runtime.store import Store
from dmvpn_agent.runtime.telemetry import Telemetry
from documented import documented, paths
from fakes.waiting import running, until

pytestmark = [pytest.mark.contract, needs("nft")]

CONFIG = """\
role = "hub"
state_directory = "{directory}"
[policy]
tunnel_networks = ["10.255.0.0/24"]
allowed_networks = ["192.168.0.0/16"]
ca_certificates = []
[bgp]
as_number = 65000
[gre_guard]
mode = "enforce"
[tunnel.gre1]
key = 42
"""


def _store(directory: Path) -> Path:
    """Make the state of an agent without peers."""
    store = Store(directory / "agent.sqlite", PeerTable.TABLE)
    store.open()
    store.close()
    return directory


@in_network_namespace
async def test_the_printed_table_is_what_the_agent_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """nft takes it as it is; exit status 1 before, 0 while an agent keeps it; a missing section is named."""
    file = _store(tmp_path) / "agent.toml"
    file.write_text(CONFIG.format(directory=tmp_path))

    async def plan(*words: str) -> tuple[int, str]:
        status = await asyncio.to_thread(main, ["plan", "--nftables", *words, "--config", str(file)])
        return status, capsys.readouterr().out

    status, printed = await plan()
    assert (status, printed.splitlines()[0]) == (1, "# There is no table now.")
    command("nft", "-f", "-", stdin=printed)
    by_hand = command("nft", "-s", "list", "table", "inet", "dmvpn_agent")
    assert "0x2a" in by_hand
    assert (await plan())[0] == 0
    command("nft", "flush", "ruleset")
    table = TableReconciler(load(file).table, lambda: (), Nftables(), Telemetry())
    async with running(table.run()):
        await until(lambda: table.installed)
    assert command("nft", "-s", "list", "table", "inet", "dmvpn_agent") == by_hand
    command("nft", "delete", "chain", "inet", "dmvpn_agent", "guard_input")
    status, printed = await plan("--json")
    found = json.loads(printed)["data"]["nftables"]
    assert (status, found["there"], found["missing"]) == (1, True, ["guard"])
    assert paths(found) == {
        path.removeprefix("nftables.") for path in documented("plan/1") if path.startswith("nftables.")
    }


@in_network_namespace
async def test_no_table_is_wanted_if_every_section_is_off(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Then nothing differs, and nft is not needed."""
    file = _store(tmp_path) / "agent.toml"
    off = '[redirect]\nenabled = false\n[source_filter]\nmode = "off"\n'
    file.write_text(CONFIG.format(directory=tmp_path).replace('"enforce"', '"off"') + off)
    assert await asyncio.to_thread(main, ["plan", "--nftables", "--config", str(file)]) == 0
    assert capsys.readouterr().out.startswith("# The agent keeps no table")
