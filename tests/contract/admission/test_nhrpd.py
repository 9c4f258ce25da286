"""The cache of a real nhrpd, by its vty socket: both of its tables."""

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from dmvpn_agent.addresses import Address
from dmvpn_agent.admission.frr_nhrpd import FrrNhrpd
from dmvpn_agent.enforcement.frr_hubs import FrrHubs
from dmvpn_agent.enforcement.hub_names import HubNames
from dmvpn_agent.enforcement.hub_state import Hub
from dmvpn_agent.frr.vty import VtySockets
from dmvpn_agent.kernel.netlink import KernelWatch
from dmvpn_agent.runtime.telemetry import Telemetry
from fakes.waiting import until_now

FRR = Path("/usr/lib/frr")
#: A link of the name, for want of GRE; what nhrpd is to say of two peers, who have the same NBMA address.
LINK = "ip link add gre1 type veth peer name other; ip address add 10.255.0.1/32 dev gre1; ip link set gre1 up"
MAPS = ("ip nhrp map 10.255.0.9 203.0.113.9", "ipv6 nhrp map 2001:db8:ff::9 203.0.113.9")

pytestmark = [
    pytest.mark.contract,
    pytest.mark.skipif(os.geteuid() != 0 or not (FRR / "nhrpd").exists(), reason="needs root and FRR's nhrpd"),
]


class RealNhrpd:
    """nhrpd and its zebra in a network namespace of their own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for name in ("zebra", "nhrpd"):
            (directory / f"{name}.conf").touch()
        for path in (directory, *directory.iterdir()):
            shutil.chown(path, "frr", "frr")

    def start(self, cleanup: ExitStack) -> None:
        zebra = self._spawn(cleanup, f"{LINK}; exec {self._daemon('zebra')}", "unshare", "-n")
        self._spawn(cleanup, f"exec {self._daemon('nhrpd')}", "nsenter", "-n", "-t", str(zebra.pid))

    def _daemon(self, name: str) -> str:
        path = self.directory
        return (
            f"{FRR}/{name} --vty_socket {path} -z {path}/zserv.api -i {path}/{name}.pid -f {path}/{name}.conf -P 0"
            f" --log file:{path}/{name}.log"
        )

    def _spawn(self, cleanup: ExitStack, command: str, *enter: str) -> subprocess.Popen[bytes]:
        name = command.rsplit(maxsplit=1)[-1].rpartition("/")[2].removesuffix(".log")
        process = subprocess.Popen([*enter, "sh", "-c", command])
        cleanup.callback(process.wait)
        cleanup.callback(process.terminate)
        until_now(lambda: (self.directory / f"{name}.vty").exists() and self._answers(name))
        return process

    def _answers(self, name: str) -> bool:
        return self.run(name, "show version").returncode == 0

    def run(self, daemon: str, *lines: str) -> subprocess.CompletedProcess[str]:
        words = [word for line in lines for word in ("-c", line)]
        argv = ["vtysh", "--vty_socket", str(self.directory), "-d", daemon, *words]
        return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)


@pytest.fixture(scope="module")
def nhrpd() -> Iterator[RealNhrpd]:
    with tempfile.TemporaryDirectory(prefix="nhrpd-") as folder, ExitStack() as cleanup:
        real = RealNhrpd(Path(folder))
        real.start(cleanup)
        yield real


async def _bound(nhrpd: RealNhrpd) -> dict[int, list[tuple[str, str]]]:
    adapter, skipped = FrrNhrpd(VtySockets(nhrpd.directory), ["gre1"]), list[str]()
    tables = {version: await adapter.bindings(version, skipped.append) for version in (4, 6)}
    assert skipped == []
    return {
        version: [(str(one.protocol_address), str(one.nbma_address)) for one in bindings]
        for version, bindings in tables.items()
    }


async def test_each_address_family_has_its_table(nhrpd: RealNhrpd) -> None:
    """Both are there and empty where nothing of IPv6 is configured; an IPv6 binding is in its own alone."""
    assert await _bound(nhrpd) == {4: [], 6: []}
    interface = ("configure terminal", "interface gre1")
    nhrpd.run("nhrpd", *interface, "ip nhrp network-id 1", "ipv6 nhrp network-id 1")
    nhrpd.run("nhrpd", *interface, *MAPS)
    assert await _bound(nhrpd) == {4: [("10.255.0.9", "203.0.113.9")], 6: [("2001:db8:ff::9", "203.0.113.9")]}


async def test_its_hubs_are_read(nhrpd: RealNhrpd) -> None:
    """One that has not answered has no protocol address; a name that is not resolved has no NBMA address.

    One that has registered here needs not answer.
    """
    watch = KernelWatch(["gre1"], Telemetry())
    peers = set[tuple[str, Address]]()
    hubs = FrrHubs(VtySockets(nhrpd.directory), ["gre1"], watch, Telemetry(), lambda *hub: hub in peers)
    interface = ("configure terminal", "interface gre1", "ip nhrp network-id 1")
    nhrpd.run("nhrpd", *interface, "ip nhrp nhs 10.255.0.1 nbma 203.0.113.1", "ip nhrp nhs dynamic nbma hub.invalid")
    expected = [Hub("gre1", ip_address("203.0.113.1"), registered=False, name="203.0.113.1")]
    deadline = time.monotonic() + 10
    while (read := list(await hubs.read())) != expected and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    assert read == expected
    peers.add(("gre1", expected[0].nbma_address))
    assert await hubs.read() == [replace(expected[0], registered=True)]


async def test_a_hubs_line_is_removed_and_added_again(nhrpd: RealNhrpd) -> None:
    """By the vty socket, as nhrpd takes it; the configuration is the same afterwards."""
    sockets = VtySockets(nhrpd.directory)
    line = "ip nhrp nhs 10.255.0.5 nbma hub.example.invalid"
    nhrpd.run("nhrpd", "configure terminal", "interface gre1", "ip nhrp network-id 1", line)
    before = nhrpd.run("nhrpd", "show running-config").stdout
    assert line in before

    async def moved(_: str) -> frozenset[Address]:
        return frozenset({ip_address("203.0.113.77")})

    hub = Hub("gre1", ip_address("203.0.113.5"), name="hub.example.invalid")
    assert await HubNames(sockets, sockets, Telemetry(), resolver=moved).check(hub)
    assert sorted(nhrpd.run("nhrpd", "show running-config").stdout.splitlines()) == sorted(before.splitlines())
