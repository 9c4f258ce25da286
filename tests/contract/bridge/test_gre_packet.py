"""The packet that starts an SA, in the kernel."""

from ipaddress import ip_address

import pytest

from contract.namespaces import command, in_network_namespace, needs
from dmvpn_agent.bridge.acquire import AcquireFailed
from dmvpn_agent.bridge.gre_packet import send_acquire_packet

pytestmark = needs("ip", "nft")

LOCAL, PEER, ABSENT = map(ip_address, ("203.0.113.11", "203.0.113.1", "203.0.113.66"))
UPLINK = """
ip link add up0 type veth peer name other; ip link set up0 up; ip link set other up; ip link set lo up
ip address add 203.0.113.11/24 dev up0
nft add table ip t; nft add chain ip t sent "{ type filter hook postrouting priority 0; }"
nft add rule ip t sent oifname up0 ip saddr 203.0.113.11 ip daddr 203.0.113.1 meta l4proto gre counter
"""
#: As the kernel moves an interface's routes when it is put into a VRF, and the rule that leads packets there.
VRF = """
ip route delete table local local 203.0.113.11; ip route delete 203.0.113.0/24
ip route add table 100 local 203.0.113.11 dev up0; ip route add table 100 203.0.113.0/24 dev up0
ip rule add from 203.0.113.11 table 100
"""


@in_network_namespace
async def test_a_packet_leaves_by_an_uplink_in_a_vrf() -> None:
    """Its address is not in the table of local addresses then."""
    command("sh", "-ec", UPLINK + VRF)
    send_acquire_packet(LOCAL, PEER)
    assert "counter packets 1 " in command("nft", "list", "table", "ip", "t")


@in_network_namespace
async def test_no_packet_leaves_from_an_address_that_the_node_does_not_have() -> None:
    """nhrpd may still ask with one that DHCP has taken back."""
    command("sh", "-ec", UPLINK)
    with pytest.raises(AcquireFailed, match=r"203\.0\.113\.66 to 203\.0\.113\.1: "):
        send_acquire_packet(ABSENT, PEER)
