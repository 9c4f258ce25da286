"""Paths through real routers, in network namespaces: this node, one router, the peer."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from contract.namespaces import command, in_network_namespace, needs
from dmvpn_agent.doctor.path_probe import Target, probe
from dmvpn_agent.kernel.links.mtu import EspSizes, outer_size

pytestmark = [pytest.mark.contract, needs("ip", "nft", "nsenter", "unshare")]

GCM = EspSizes(8, 16, 4)
NBMA, PEER = IPv4Address("198.51.100.2"), IPv4Address("10.255.0.2")


@contextmanager
def _namespace() -> Iterator[str]:
    """A network namespace for as long as a process in it runs; yields its process id."""
    with subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec sleep 60"], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        try:
            yield str(process.pid)
        finally:
            process.kill()


def _in(pid: str, *words: str) -> str:
    return command("nsenter", "--net", "--target", pid, *words)


@contextmanager
def _path() -> Iterator[tuple[str, str]]:
    """This node (192.0.2.1), a router (192.0.2.254), and the peer (198.51.100.2); 'gre1' is a veth to the peer."""
    with _namespace() as router, _namespace() as peer:
        for name, near, far in (("wan", "192.0.2.1/24", router), ("gre1", "10.255.0.1/24", peer)):
            command("ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}-far", "netns", far)
            command("ip", "address", "add", near, "dev", name)
            command("ip", "link", "set", name, "up")
        command("ip", "route", "add", "default", "via", "192.0.2.254")
        _in(router, "ip", "address", "add", "192.0.2.254/24", "dev", "wan-far")
        _in(router, "ip", "link", "set", "wan-far", "up")
        _in(router, "ip", "link", "add", "out", "type", "veth", "peer", "name", "eth0", "netns", peer)
        _in(router, "ip", "address", "add", "198.51.100.254/24", "dev", "out")
        _in(router, "ip", "link", "set", "out", "up")
        _in(router, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        _in(peer, "ip", "address", "add", f"{NBMA}/24", "dev", "eth0")
        _in(peer, "ip", "link", "set", "eth0", "up")
        _in(peer, "ip", "route", "add", "default", "via", "198.51.100.254")
        _in(peer, "ip", "address", "add", f"{PEER}/24", "dev", "gre1-far")
        _in(peer, "ip", "link", "set", "gre1-far", "up")
        yield router, peer


def _target(mtu: int = 1400) -> Target:
    return Target("gre1", mtu, PEER, NBMA, GCM, udp=False)


def _loses(pid: str, device: str, above: int) -> None:
    """Drop larger packets, as a black hole does."""
    rules = (
        f"add table ip t; add chain ip t c {{ type filter hook prerouting priority 0; }}; "
        f"add rule ip t c iifname {device} ip length > {above} drop"
    )
    _in(pid, "nft", rules)


@in_network_namespace
async def test_a_path_that_takes_the_whole_mtu() -> None:
    """Nothing is lost."""
    with _path():
        (found,) = await probe([_target()])
        assert (found.largest, found.where) == (1400, "")


@in_network_namespace
async def test_a_peer_that_does_not_answer() -> None:
    """Unknown is not lost."""
    with _path() as (_, peer):
        _loses(peer, "gre1-far", 20)
        (found,) = await probe([_target()])
        assert found.largest is None


@in_network_namespace
async def test_a_router_that_says_what_its_link_takes() -> None:
    """It is named, with the MTU of its next link."""
    with _path() as (router, peer):
        _loses(peer, "gre1-far", 1354)
        _in(router, "ip", "link", "set", "out", "mtu", str(outer_size(1354, GCM, udp=False)))
        (found,) = await probe([_target()])
        assert found.largest is not None
        assert found.largest == 1354
        assert found.where == f"at 192.0.2.254, whose next link takes {outer_size(1354, GCM, udp=False)} bytes"


@in_network_namespace
async def test_a_black_hole_is_behind_the_last_hop_that_answers() -> None:
    """Nobody reports it."""
    with _path() as (_, peer):
        _loses(peer, "gre1-far", 1354)
        _in(peer, "nft", f"add rule ip t c iifname eth0 ip length > {outer_size(1354, GCM, udp=False)} drop")
        (found,) = await probe([_target()])
        assert found.where == f"without a word behind 192.0.2.254, hop 1 to {NBMA}"


@in_network_namespace
async def test_a_path_that_only_the_tunnels_device_has() -> None:
    """As with the uplink in a VRF: the routes for what is bound to the device are in a table of its own."""
    with _path() as (_, peer):
        command("sh", "-ec", "ip route delete default; ip route add default via 192.0.2.254 dev wan table 100")
        command("ip", "rule", "add", "oif", "wan", "table", "100")
        _loses(peer, "gre1-far", 1354)
        (found,) = await probe([replace(_target(), device="wan")])
        assert found.where.startswith("although ")


@in_network_namespace
async def test_a_loss_inside_the_tunnel_only() -> None:
    """The path takes packets of that size."""
    with _path() as (_, peer):
        _loses(peer, "gre1-far", 1354)
        (found,) = await probe([_target()])
        assert found.where.startswith("although ")


@in_network_namespace
async def test_many_peers_take_as_long_as_one() -> None:
    """At most 4 s, as the command's help says."""
    with _path():
        missing = [Target("gre1", 1400, IPv4Address(f"10.255.0.{n}"), NBMA, GCM, udp=True) for n in range(3, 60)]
        found = await probe([*missing, _target()])
        assert [one.largest for one in found] == [None] * 57 + [1400]
