"""The doctor's checks of ``[tunnel.NAME]``, of MTUs and of probed paths."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from dmvpn_agent.doctor.check import Level
from dmvpn_agent.doctor.node import LinkView, PathProbe, SaView
from dmvpn_agent.kernel.links.observed import Gre, Observed, ObservedLink
from dmvpn_agent.kernel.links.preview import preview
from dmvpn_agent.kernel.links.settings import TunnelSettings
from unit.doctor.test_doctor import EXPECTED, LINK, SOUND, UNPATCHED, _problems

GRE1 = replace(LINK, local="192.0.2.1")
WAN = LinkView("none", True, 1500, None, ("192.0.2.1/24",))
PPP = LinkView("none", True, 1492, None, ("192.0.2.1/32",))
GCM = SaView("dmvpn", "192.0.2.7", "AES_GCM_16-256", "", udp_encapsulated=False)
CBC_NAT = SaView("dmvpn", "192.0.2.8", "AES_CBC-256", "HMAC_SHA2_512_256", udp_encapsulated=True)


@pytest.mark.parametrize(
    ("mtu", "uplink", "sas", "left"),
    [
        (1438, WAN, [GCM], None),
        (1439, WAN, [GCM], "1438"),
        (1400, WAN, [GCM, CBC_NAT], "1398"),
        (1422, PPP, [replace(GCM, udp_encapsulated=True)], None),
        (1424, PPP, [replace(GCM, udp_encapsulated=True)], "1422"),
        (1438, WAN, [], None),
        (1476, WAN, [], "1438"),
        (1400, WAN, [replace(CBC_NAT, profile="other")], None),
        (1400, WAN, [replace(CBC_NAT, encryption="NEW_CIPHER")], None),
    ],
)
def test_an_mtu_that_is_too_large_is_a_warning(
    mtu: int, uplink: LinkView, sas: Sequence[SaView], left: str | None
) -> None:
    """By the SA that leaves least; without one, by AES-GCM."""
    links = {"gre1": replace(GRE1, mtu=mtu), "wan": uplink}
    problems = _problems(replace(SOUND, links=links, charon=replace(UNPATCHED, sas=tuple(sas))))
    assert list(problems) == (["MTU of gre1"] if left else [])
    if left:
        assert f"mtu {left}" in problems["MTU of gre1"].do
        assert problems["MTU of gre1"].level is Level.WARNING


@pytest.mark.parametrize(("largest", "level"), [(1400, None), (1372, Level.FAULT), (None, Level.WARNING)])
def test_a_path_that_loses_packets_is_a_fault(largest: int | None, level: Level | None) -> None:
    """It says where; a peer that answers no ping is only unknown."""
    probe = PathProbe("gre1", "10.255.0.7", 1400, largest, "at 203.0.113.254")
    problems = _problems(replace(SOUND, probes=(probe,)))
    assert [problem.level for problem in problems.values()] == ([level] if level else [])
    if level is Level.FAULT:
        assert "at 203.0.113.254" in problems["path to 10.255.0.7"].found


def test_differences_and_problems_of_the_tunnel_are_faults() -> None:
    """With the commands, and the remedies."""
    tunnels = {"gre1": TunnelSettings("gre1", mtu=1400), "gre2": TunnelSettings("gre2", mtu=1400)}
    links = {"gre1": ObservedLink(3, "gre", mtu=1476, gre=Gre()), "gre2": ObservedLink(4, "veth")}
    problems = _problems(replace(SOUND, tunnels=preview(tunnels, Observed(links))))
    assert problems["tunnel.gre1"].do == "ip link set gre1 mtu 1400"
    assert "rename or delete it" in problems["tunnel.gre2"].do


def test_a_tunnel_in_a_vrf_is_a_warning() -> None:
    """nhrpd ignores it."""
    problems = _problems(SOUND, replace(EXPECTED, vrfs={"gre1": "red"}))
    assert [(name, problem.level) for name, problem in problems.items()] == [("VRF of gre1", Level.WARNING)]


@pytest.mark.parametrize(
    ("uplink", "mtu"), [(LinkView("", True, 1492, None, ("203.0.113.1/24",)), 1431), (None, 1439)]
)
def test_the_mtu_of_a_vrf_is_not_that_of_the_uplink(uplink: LinkView | None, mtu: int) -> None:
    """With the VRF as the tunnel's device its slave counts, by the local address, or 1500 if there is none."""
    tunnel = replace(LINK, device="wan", local="203.0.113.1")
    links = {"gre1": replace(tunnel, mtu=mtu), "wan": LinkView("vrf", True, 65575, None, ())}
    links |= {"eth0": uplink} if uplink else {}
    assert list(_problems(replace(SOUND, links=links))) == ["MTU of gre1"]
    assert _problems(replace(SOUND, links={**links, "gre1": replace(tunnel, mtu=mtu - 1)})) == {}


def test_a_missing_interface_that_the_agent_makes_is_not_the_operators_to_make() -> None:
    """The agent knows why it could not: the kernel may have no GRE."""
    tunnels = preview({"gre1": TunnelSettings("gre1", manages=True)}, Observed({}))
    assert "`dmvpn-agent status`" in _problems(replace(SOUND, links={}, tunnels=tunnels))["interface gre1"].do
