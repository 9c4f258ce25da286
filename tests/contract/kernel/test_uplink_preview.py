"""What ``plan`` shows of the uplinks, from a real kernel."""

from ipaddress import IPv4Address

import pytest

from contract.namespaces import command, in_network_namespace, needs
from dmvpn_agent.kernel.uplink.read_preview import UplinkPreview, read_preview
from dmvpn_agent.kernel.uplink.settings import Uplink, UplinkSettings

pytestmark = [pytest.mark.contract, needs("ip")]
SETTINGS = UplinkSettings(("gre1",), (Uplink("e0", IPv4Address("192.0.2.1")), Uplink("absent")))


@in_network_namespace
async def test_routes_and_rules_of_an_uplink_that_is_up_are_shown() -> None:
    """Nothing is written; an uplink that is absent needs nothing."""
    command("ip", "link", "add", "e0", "type", "veth", "peer", "name", "p0")
    assert await read_preview(SETTINGS) == UplinkPreview()
    for words in ("link set e0 up", "link set p0 up", "address add 192.0.2.9/24 dev e0"):
        command("ip", *words.split())
    shown = await read_preview(SETTINGS)
    assert shown.changes == (
        "add route 192.0.2.0/24 dev e0 table 7700",
        "add route 0.0.0.0/0 via 192.0.2.1 dev e0 table 7700",
        "add rule from 192.0.2.9 lookup 7700 priority 7700",
        "add rule oif e0 lookup 7700 priority 7700",
    )
    assert "7700" not in command("ip", "rule")


@in_network_namespace
async def test_without_uplinks_there_is_nothing() -> None:
    """The kernel is not read."""
    assert await read_preview(None) == UplinkPreview()
