"""The agent's rules beside firewalld, docker and other programs, the real ones, in a network namespace.

Each is found to drop what the doctor says, in a real kernel, and lets it pass after the commands that the doctor
gives.
"""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from contract.kernel.beside_firewalls import ROUTER, commands, dropped, is_dropped_as_said, kept, ours, read_view
from contract.namespaces import command, in_network_namespace, needs
from contract.other_firewalls import Firewalld, docker
from fakes.waiting import until

pytestmark = [pytest.mark.contract, needs("nft", "ip")]

#: Reloads of another program; ``RELOADS=20`` takes two minutes with firewalld.
RELOADS = int(os.environ.get("RELOADS", "4"))


@needs("firewalld", "firewall-cmd", "dbus-daemon")
@in_network_namespace
async def test_firewalld_drops_what_the_doctor_says_until_it_is_opened(tmp_path: Path) -> None:
    """With the commands that the doctor gives, in zone public, which is the default."""
    command("sh", "-c", ROUTER)
    with Firewalld.running(tmp_path) as firewalld:
        firewalld.run("firewall-cmd --permanent --zone=internal --add-interface=lan0")
        firewalld.run("firewall-cmd --permanent --zone=external --add-interface=up0")
        firewalld.run("firewall-cmd --reload")
        before = await read_view()
        assert "inet firewalld" in before.tables
        assert {one.flow.what.rpartition(",")[0] for one in before.dropped if not one.flow.packet.sent_by} == {
            "IKE, UDP port 500", "IKE and ESP behind NAT, UDP port 4500", "ESP", "GRE inside ESP",
            "BGP over IPv4",
        }  # fmt: skip
        assert dropped(before) == {("gre1", "lan0"), ("lan0", "gre1"), ("gre1", "gre1")}
        is_dropped_as_said(before)
        for line in commands(before):
            firewalld.run(line)
        after = await read_view()
        assert after.dropped == ()
        is_dropped_as_said(after)


@needs("firewalld", "firewall-cmd", "dbus-daemon")
@in_network_namespace
async def test_reloads_of_firewalld_and_the_agent_do_not_meet(tmp_path: Path) -> None:
    """The agent's table is not touched, and the agent writes nothing."""
    command("sh", "-c", ROUTER)
    async with kept() as agent:
        with Firewalld.running(tmp_path) as firewalld:
            await agent.at_rest()
            shown, writes = ours(), agent.writes
            for _ in range(RELOADS):
                firewalld.run("firewall-cmd --reload")
                await agent.at_rest()
            assert (ours(), agent.writes) == (shown, writes)
            # And the other way: what the agent does to its table is nothing to firewalld.
            theirs = command("nft", "-a", "list", "table", "inet", "firewalld")
            for _ in range(3):
                command("nft", "delete", "table", "inet", "dmvpn_agent")
                await until(lambda: not agent.table._is_current)
                await agent.at_rest()
            assert command("nft", "-a", "list", "table", "inet", "firewalld") == theirs


@in_network_namespace
async def test_a_flushed_ruleset_costs_two_transactions_each_time() -> None:
    """As ``systemctl reload nftables`` does it: nobody else's rules are written, and the agent does not loop."""
    command("sh", "-c", ROUTER)
    other = "flush ruleset\ntable inet filter {\n chain forward {\n type filter hook forward priority 0\n }\n}\n"
    async with kept() as agent:
        before = agent.writes
        for _ in range(RELOADS):
            command("nft", "-f", "-", stdin=other)
            await until(lambda: not agent.table._is_current or "dmvpn_agent" in command("nft", "list", "tables"))
            await agent.at_rest()
            await until(lambda: "inet dmvpn_agent" in command("nft", "list", "tables"))
        # Each time one for the table, and one for the rules that come once its sets are filled.
        await until(lambda: agent.writes - before >= 2 * RELOADS)
        await agent.at_rest()
        settled = agent.writes
        for _ in range(3):
            agent.table.trigger()
            await agent.at_rest()
        assert agent.writes == settled == before + 2 * RELOADS


@needs("dockerd", "iptables-nft", "iptables-nft-save")
@in_network_namespace
async def test_docker_cuts_the_lan_until_it_is_opened(tmp_path: Path) -> None:
    """Its policy of FORWARD is DROP if docker had to turn forwarding on: here it starts before the node's sysctl.

    What the doctor gives stays through a restart of docker.
    """
    command("sh", "-c", ROUTER)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("0")
    async with kept() as agent:
        shown, writes = ours(), agent.writes
        with docker(tmp_path):
            view = await read_view()
            assert dropped(view) == {("gre1", "lan0"), ("lan0", "gre1"), ("gre1", "gre1")}
            assert {one.rule.rpartition(", ")[2] for one in view.dropped} == {"chain FORWARD: policy drop"}
            is_dropped_as_said(view)
            for line in commands(view):
                command(*shlex.split(line))
            is_dropped_as_said(await read_view())
        with docker(tmp_path):
            after = await read_view()
            assert after.dropped == ()
            is_dropped_as_said(after)
        assert (ours(), agent.writes) == (shown, writes)


@needs("iptables-nft", "iptables-nft-save", "ip6tables-nft-save")
@pytest.mark.parametrize("rule", ["-A FORWARD -i gre1 -j REJECT", "-A FORWARD -m set --match-set x src -j ACCEPT"])
@in_network_namespace
async def test_what_depends_on_an_address_is_not_reported(rule: str) -> None:
    """A rule before the drop may let the packets of this site pass; one that drops some of them is no fault."""
    command("sh", "-c", ROUTER)
    for line in ("-s 10.1.0.0/16 -j ACCEPT", "-j DROP"):
        subprocess.run(["iptables-nft", "-A", "FORWARD", *line.split()], check=True)
    view = await read_view()
    assert view.dropped == ()
    assert rule
