"""The files of swanctl/ in a real charon and a real kernel, and what ``doctor`` sees of them."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

import pytest

from contract.charons import CHARON, PLUGINS
from contract.namespaces import needs
from dmvpn_agent.core.node_view import TrapPolicy
from dmvpn_agent.wire.node_text import parse_traps
from fakes.waiting import until_now

pytestmark = [
    pytest.mark.contract,
    needs("swanctl", "ip", "unshare", "nsenter"),
    pytest.mark.skipif(not CHARON.exists(), reason="needs charon"),
]

SWANCTL = Path(__file__).parents[2] / "swanctl"
CONNECTIONS = sorted(path.name for path in SWANCTL.glob("*.conf") if not path.name.startswith("strongswan"))
STRONGSWAN = """
charon {{
    load_modular = no
    load = {plugins} kernel-netlink socket-default vici
    plugins {{ vici {{ socket = unix://{folder}/charon.vici }} }}
    filelog {{ file {{
        path = {folder}/log
        flush_line = yes
    }} }}
}}
swanctl {{
    socket = unix://{folder}/charon.vici
    load = random pem pkcs1 pkcs8 x509 pubkey openssl
}}
"""
INSIDE = """
ip link set lo up
ip link add eth0 type veth peer name eth1
ip address add 203.0.113.1/24 dev eth0
ip address add 198.51.100.1/24 dev eth0
ip link set eth0 up
ip link set eth1 up
mount -t tmpfs tmpfs /run
"""
SEND = """
import sys
from ipaddress import ip_address
from dmvpn_agent.adapters.gre_trigger import send_trigger
send_trigger(ip_address(sys.argv[1]), ip_address(sys.argv[2]))
"""
EVERYBODY = ip_network("0.0.0.0/0")


@dataclass
class Node:
    """A namespace with a charon; ``pid`` is a process in it."""

    folder: Path
    pid: int

    def run(self, *argv: str) -> str:
        words = ["nsenter", "--net", "--target", str(self.pid), *argv]
        environment = {**os.environ, "STRONGSWAN_CONF": str(self.folder / "strongswan.conf")}
        done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False, env=environment)
        assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
        return done.stdout

    def load(self, name: str) -> str:
        """Load a file of swanctl/ with a pre-shared key: certificates are another matter."""
        text = (SWANCTL / name).read_text().replace("pubkey", "psk").replace("certs = node.pem", "")
        (self.folder / "swanctl.conf").write_text(text)
        return self.run("swanctl", "--load-all", "--noprompt", "--file", str(self.folder / "swanctl.conf"))

    @property
    def traps(self) -> set[TrapPolicy]:
        return set(parse_traps(self.run("ip", "xfrm", "policy")))

    def log(self) -> str:
        return (self.folder / "log").read_text()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    (tmp_path / "strongswan.conf").write_text(STRONGSWAN.format(plugins=PLUGINS, folder=tmp_path))
    process = subprocess.Popen(
        ["unshare", "--net", "--mount", "sh", "-ec", f"{INSIDE}\nexec {CHARON}"],
        env={**os.environ, "STRONGSWAN_CONF": str(tmp_path / "strongswan.conf")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until_now((tmp_path / "charon.vici").is_socket)
        yield Node(tmp_path, process.pid)
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("name", CONNECTIONS)
def test_charon_takes_every_file(node: Node, name: str) -> None:
    """As transport mode for GRE, in a connection and child of the same name."""
    assert "0 unloaded" in node.load(name)
    listed = node.run("swanctl", "--list-conns")
    assert ": IKEv2" in listed
    assert ": TRANSPORT" in listed
    assert "TUNNEL" not in listed
    assert "[gre]" in listed or "[47]" in listed  # without an /etc/protocols


@pytest.mark.parametrize(
    ("name", "traps"),
    [
        ("bridged.conf", {TrapPolicy(EVERYBODY, 1, "transport")}),
        ("native.conf", set()),
        (
            "several-profiles.conf",
            {
                TrapPolicy(ip_network("203.0.113.1/32"), 1, "transport"),
                TrapPolicy(ip_network("198.51.100.1/32"), 2, "transport"),
            },
        ),
    ],
)
def test_the_kernel_has_the_trap_policies(node: Node, name: str, traps: set[TrapPolicy]) -> None:
    """One for each profile where the bridge needs them, with its reqid."""
    node.load(name)
    assert node.traps == traps


def test_a_packet_brings_up_the_sa_of_the_profile_of_its_source(node: Node) -> None:
    """The bridge's packet is enough to tell the profiles apart."""
    node.load("several-profiles.conf")
    for local, profile in (("203.0.113.1", "dmvpn"), ("198.51.100.1", "dmvpn2")):
        peer = local.removesuffix(".1") + ".9"
        node.run(sys.executable, "-c", SEND, local, peer)
        until_now(lambda: f"initiating IKE_SA {profile}[" in node.log())  # noqa: B023  awaited within the loop
        assert next(line.split()[-1] for line in node.log().splitlines() if f"IKE_SA {profile}[" in line) == peer


def test_two_profiles_with_the_same_selector_have_one_policy(node: Node) -> None:
    """Which is why several-profiles.conf names addresses: the later profile would get all packets."""
    text = (SWANCTL / "several-profiles.conf").read_text()
    for address in ("203.0.113.1", "198.51.100.1"):
        text = text.replace(f"local_ts = {address}/32", "local_ts = dynamic")
    text = text.replace("pubkey", "psk").replace("certs = node.pem", "")
    (node.folder / "both.conf").write_text(text)
    node.run("swanctl", "--load-conns", "--file", str(node.folder / "both.conf"))
    assert len(node.traps) == 1


AGENT = """
role = "hub"
[ike]
vici_socket = "{folder}/charon.vici"
[policy]
tunnel_networks = ["10.255.0.0/24"]
allowed_networks = ["192.168.0.0/16"]
[bgp]
as_number = 65000
"""


def _doctor(node: Node) -> dict[str, dict[str, str]]:
    """Return what the doctor says of a node, by check; a node without FRR has faults."""
    config = node.folder / "agent.toml"
    config.write_text(AGENT.format(folder=node.folder))
    words = [
        "nsenter",
        "--net",
        "--target",
        str(node.pid),
        sys.executable,
        "-m",
        "dmvpn_agent.cli",
        "doctor",
        "--json",
    ]
    done = subprocess.run([*words, "--config", str(config)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1, done.stderr
    return {check["name"]: check for check in json.loads(done.stdout)}


def test_the_doctor_sees_charon_and_the_trap_policy(node: Node) -> None:
    """Where nothing is loaded, faults; after bridged.conf was, none of the profile."""
    before = _doctor(node)
    assert before["charon"]["level"] == "ok"
    assert "unpatched" in before["charon"]["found"]
    assert [before[name]["level"] for name in ("profile dmvpn", "trap policy")] == ["fault", "fault"]
    node.load("bridged.conf")
    after = _doctor(node)
    assert [after[name]["level"] for name in ("profile dmvpn", "trap policy", "reqid")] == ["ok", "ok", "ok"]
    assert after["mode"]["level"] == "fault"  # nobody has linked nhrpd to the bridge
    assert after["interface gre1"]["level"] == "fault"
