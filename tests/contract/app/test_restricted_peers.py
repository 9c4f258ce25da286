"""Peers in quarantine and denied ones, in the groups of a real nftables table."""

import asyncio
from pathlib import Path

import pytest

from contract.agent import CONFIG, Agent
from contract.namespaces import command, in_network_namespace, needs
from dmvpn_agent.cli.main import main
from fakes.waiting import until

pytestmark = needs("nft")

HUB = (
    CONFIG.replace('role = "spoke"', 'role = "hub"').replace(
        "[policy]", '[policy]\nallowed_networks = ["192.168.0.0/16"]'
    )
    + """\
[[policy.groups.rule]]
between = ["branches", "servers"]
action = "drop"
[policy.groups.members.branches]
labels = ["spoke1"]
[policy.groups.members.servers]
networks = ["192.168.77.0/24"]
[bgp]
enabled = false
[redirect]
enabled = false
"""
)
DENIED = '[[policy.maintenance]]\naction = "deny"\nidentity = "*spoke1*"\n'
MEMBERS = {"10.255.0.2", "192.168.2.0/24"}


@in_network_namespace
async def test_a_peer_stays_in_its_groups_while_it_is_quarantined_or_denied(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also after a restart; ``plan`` and ``explain`` know it too."""
    agent = Agent(tmp_path, HUB)

    async def run(*words: str) -> int:
        status = await asyncio.to_thread(main, [*words, "--config", str(agent.config)])
        capsys.readouterr()
        return status

    async def in_force(sources: bool) -> None:
        """Wait for the peer's elements, and for ``plan`` to find nothing that differs."""
        await until(lambda: ("10.255.0.2" in _listed("set", "sources4_gre1")) is sources)
        assert all(member in _listed("set", "group4_branches") for member in MEMBERS)
        while await run("plan", "--nftables"):
            pass  # the peer's row is on its way to the disk
        assert await run("explain", "--from", "192.168.2.7", "--to", "192.168.77.1") == 1

    try:
        agent.start()
        await asyncio.to_thread(agent.wait_for, "agent_ready")
        assert await asyncio.to_thread(agent.ask) == b"eventid=1\nresult=accept\n\n"
        await in_force(sources=True)
        assert await run("quarantine", "spoke1") == 0
        await in_force(sources=False)
        assert await run("release", "spoke1") == 0
        await in_force(sources=True)
        agent.config.write_text(agent.config.read_text() + DENIED)
        assert await run("reload") == 0
        await in_force(sources=False)
        await asyncio.to_thread(agent.kill)
        agent.start()
        await asyncio.to_thread(agent.wait_for, "agent_ready", 2)
        await asyncio.to_thread(agent.wait_for, "nftables_written", 2)
        await in_force(sources=False)
    finally:
        await asyncio.to_thread(agent.kill)


def _listed(kind: str, name: str) -> str:
    try:
        return command("nft", "list", kind, "inet", "dmvpn_agent", name)
    except AssertionError:
        return ""  # not yet
