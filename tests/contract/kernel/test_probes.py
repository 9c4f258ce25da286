"""Probes by way of one interface, to a host in another network namespace."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from contract.namespaces import command, in_network_namespace, needs
from dmvpn_agent.kernel.uplink.probes import ProbeImpossible, probe
from dmvpn_agent.kernel.uplink.settings import ProbeProtocol, Target

pytestmark = [pytest.mark.contract, needs("ip", "unshare", "nsenter")]
HOST, ABSENT = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.77")
PING_GROUPS = Path("/proc/sys/net/ipv4/ping_group_range")


@contextmanager
def _two_uplinks() -> Iterator[None]:
    """Make e0, by which the host answers, and e1, by which nobody does."""
    with subprocess.Popen(["unshare", "-n", "sh", "-c", "echo ready; exec sleep 60"], stdout=subprocess.PIPE) as host:
        assert host.stdout is not None
        host.stdout.readline()
        try:
            command("ip", "link", "add", "e0", "type", "veth", "peer", "name", "p0", "netns", str(host.pid))
            command("ip", "link", "add", "e1", "type", "veth", "peer", "name", "p1")
            for number in ("0", "1"):
                command("ip", "address", "add", f"192.0.2.{9 + int(number)}/24", "dev", f"e{number}")
                command("ip", "link", "set", f"e{number}", "up")
            command("ip", "link", "set", "p1", "up")
            inside = ("nsenter", "-n", "-t", str(host.pid), "ip")
            command(*inside, "address", "add", "192.0.2.1/24", "dev", "p0")
            command(*inside, "link", "set", "p0", "up")
            PING_GROUPS.write_text("0 2147483647")
            yield
        finally:
            host.kill()


TARGETS = [
    Target(HOST),
    Target(HOST, ProbeProtocol.TCP, 443),
    Target(HOST, ProbeProtocol.UDP, 33434),
]


@in_network_namespace
async def test_a_host_answers_by_the_interface_that_leads_to_it_alone() -> None:
    """A port that is closed is an answer too."""
    with _two_uplinks():
        for target in TARGETS:
            assert await probe(target, "e0", 3) is True, target
            assert await probe(target, "e1", 0.3) is False, target


@in_network_namespace
async def test_silence_is_no_answer() -> None:
    """Nor is an interface that does not exist, or is down."""
    with _two_uplinks():
        for protocol in ProbeProtocol:
            assert await probe(Target(ABSENT, protocol, 443), "e0", 0.2) is False, protocol
            assert await probe(Target(HOST, protocol, 443), "absent", 0.2) is False, protocol
        command("ip", "link", "set", "e0", "down")
        for target in TARGETS:
            assert await probe(target, "e0", 0.2) is False, target


@in_network_namespace
async def test_a_node_that_may_not_ping_says_so() -> None:
    """That says nothing about the uplink."""
    with _two_uplinks():
        PING_GROUPS.write_text("1 0")
        with pytest.raises(ProbeImpossible, match="ping_group_range"):
            await probe(Target(HOST), "e0", 1)
