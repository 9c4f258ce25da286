"""The files of swanctl/ in a real charon and a real kernel, and what ``doctor`` reports about them."""

import json
import sys
from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path

import pytest

from contract.charons import RealCharon, needs_charon
from contract.namespaces import needs
from dmvpn_agent.doctor.node import TrapPolicy
from dmvpn_agent.doctor.node_text import parse_traps
from fakes.waiting import until_now

pytestmark = [pytest.mark.contract, needs("swanctl", "ip", "nsenter"), needs_charon()]

SWANCTL = Path(__file__).parents[3] / "swanctl"
CONNECTIONS = sorted(path.name for path in SWANCTL.glob("*.conf") if not path.name.startswith("strongswan"))
LINKS = """\
link add eth0 type veth peer name eth1
address add 203.0.113.1/24 dev eth0
address add 198.51.100.1/24 dev eth0
link set eth0 up
link set eth1 up
"""
SEND = """
import sys
from ipaddress import ip_address
from dmvpn_agent.bridge.gre_packet import send_acquire_packet
send_acquire_packet(ip_address(sys.argv[1]), ip_address(sys.argv[2]))
"""
ANY_ADDRESS = ip_network("0.0.0.0/0")


class Node(RealCharon):
    """A charon on a host with two addresses."""

    def load(self, name: str) -> str:
        """Load a file of swanctl/."""
        return self.load_text((SWANCTL / name).read_text())

    def load_text(self, text: str) -> str:
        """Load connections, with a pre-shared key in place of certificates."""
        file = self.path.with_name("swanctl.conf")
        file.write_text(text.replace("pubkey", "psk").replace("certs = node.pem", ""))
        return self.swanctl("--load-all", "--noprompt", "--file", str(file))

    @property
    def traps(self) -> set[TrapPolicy]:
        return set(parse_traps(self.space.run("ip", "xfrm", "policy")))


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    node = Node(tmp_path)
    try:
        node.make_space()
        node.space.run("ip", "-batch", "-", text=LINKS)
        await node.start()
        yield node
    finally:
        node.stop()


@pytest.mark.parametrize("name", CONNECTIONS)
def test_charon_loads_every_file(node: Node, name: str) -> None:
    """Each has transport mode for GRE."""
    assert "0 unloaded" in node.load(name)
    listed = node.swanctl("--list-conns")
    assert ": IKEv2" in listed
    assert ": TRANSPORT" in listed
    assert "TUNNEL" not in listed
    assert "[gre]" in listed or "[47]" in listed  # without an /etc/protocols


@pytest.mark.parametrize(
    ("name", "traps"),
    [
        ("bridged.conf", {TrapPolicy(ANY_ADDRESS, 1, "transport")}),
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
    """There is one for each profile if the bridge needs them, with the profile's reqid."""
    node.load(name)
    assert node.traps == traps


def test_a_packet_starts_the_sa_of_the_profile_of_its_source_address(node: Node) -> None:
    """The source address of the bridge's packet selects the profile."""
    node.load("several-profiles.conf")
    for local, profile in (("203.0.113.1", "dmvpn"), ("198.51.100.1", "dmvpn2")):
        peer = local.removesuffix(".1") + ".9"
        node.space.run(sys.executable, "-c", SEND, local, peer)
        begun = f"initiating IKE_SA {profile}["
        until_now(lambda: begun in node.log.read_text())  # noqa: B023  awaited within the loop
        assert next(line.split()[-1] for line in node.log.read_text().splitlines() if begun in line) == peer


def test_two_profiles_with_the_same_selector_have_one_policy(node: Node) -> None:
    """Therefore several-profiles.conf names addresses: otherwise one profile would get all packets."""
    text = (SWANCTL / "several-profiles.conf").read_text()
    for address in ("203.0.113.1", "198.51.100.1"):
        text = text.replace(f"local_ts = {address}/32", "local_ts = dynamic")
    node.load_text(text)
    assert len(node.traps) == 1


AGENT = """
role = "hub"
[ike]
vici_socket = "{vici}"
[policy]
tunnel_networks = ["10.255.0.0/24"]
allowed_networks = ["192.168.0.0/16"]
[bgp]
as_number = 65000
"""


def _doctor(node: Node) -> dict[str, dict[str, str]]:
    """Return the doctor's checks by name; without FRR it reports faults."""
    config = node.path.with_name("agent.toml")
    config.write_text(AGENT.format(vici=node.path))
    argv = (sys.executable, "-m", "dmvpn_agent.cli", "doctor", "--json", "--config", str(config))
    return {check["name"]: check for check in json.loads(node.space.run(*argv, statuses=(1,)))["data"]}


def test_the_doctor_reports_charon_and_the_trap_policy(node: Node) -> None:
    """Without connections there are faults; after bridged.conf was loaded, none about the profile."""
    before = _doctor(node)
    assert before["charon"]["level"] == "ok"
    assert "unpatched" in before["charon"]["found"]
    assert [before[name]["level"] for name in ("profile dmvpn", "trap policy")] == ["fault", "fault"]
    node.load("bridged.conf")
    after = _doctor(node)
    assert [after[name]["level"] for name in ("profile dmvpn", "trap policy", "reqid")] == ["ok", "ok", "ok"]
    assert after["mode"]["level"] == "fault"  # nobody has linked nhrpd to the bridge
    assert after["interface gre1"]["level"] == "fault"


def test_the_doctor_misses_the_route_to_the_tunnel_network(node: Node) -> None:
    """FRR drops it without a word where its mgmtd does not run."""
    name = "route to 10.255.0.0/24"
    node.space.run("ip", "route", "add", "10.0.0.0/8", "dev", "eth0")
    assert _doctor(node)[name]["level"] == "fault"
    node.space.run("ip", "route", "add", "blackhole", "10.255.0.0/24", "proto", "static")
    assert (_doctor(node)[name]["level"], _doctor(node)[name]["found"]) == ("ok", "blackhole static")
