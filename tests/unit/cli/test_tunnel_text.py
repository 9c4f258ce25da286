"""What ``plan`` and ``check`` say about the tunnel interfaces."""

from ipaddress import IPv4Address, ip_interface

from dmvpn_agent.cli.tunnel_text import tunnel_json, tunnel_text
from dmvpn_agent.kernel.links.observed import Gre, Observed, ObservedLink
from dmvpn_agent.kernel.links.preview import preview
from dmvpn_agent.kernel.links.settings import TunnelSettings

MANAGED = TunnelSettings(
    "gre1", manages=True, local=IPv4Address("192.0.2.1"), key=42, addresses=(ip_interface("10.255.0.1/32"),), up=True
)


def test_a_missing_interface_is_shown_as_the_commands_that_make_it() -> None:
    """An operator can run them."""
    text = "\n".join(tunnel_text(preview({"gre1": MANAGED}, Observed({}))))
    assert "ip link add gre1 type gre local 192.0.2.1 key 42 ttl 64" in text
    assert "ip address add 10.255.0.1/32 dev gre1" in text


def test_problems_and_unmanaged_differences_are_shown_apart() -> None:
    """The agent does not change them."""
    links = {"gre1": ObservedLink(4, "veth"), "gre2": ObservedLink(5, "gre", mtu=1476, gre=Gre())}
    found = tunnel_json(preview({"gre1": MANAGED, "gre2": TunnelSettings("gre2", mtu=1400)}, Observed(links)))
    assert found["changes"] == []
    assert found["differs"] == ["ip link set gre2 mtu 1400"]
    assert [problem["kind"] for problem in found["problems"]] == ["not_gre"]


def test_nothing_is_said_if_all_is_as_configured() -> None:
    """Nor without configuration."""
    link = ObservedLink(4, "gre", up=True, gre=Gre(MANAGED.local, 42, 64), addresses=frozenset(MANAGED.addresses))
    tunnels = {"gre1": MANAGED, "gre2": TunnelSettings("gre2")}
    assert list(tunnel_text(preview(tunnels, Observed({"gre1": link})))) == []
