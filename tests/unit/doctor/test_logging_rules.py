"""The doctor's checks of what goes to nhrpd's NFLOG groups: the multicast rule, and rules in iptables."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from dmvpn_agent.doctor.check import Check, Level
from dmvpn_agent.doctor.kernel_checks import kernel_checks, tunnel_checks
from dmvpn_agent.doctor.nhrpd_checks import nhrpd_checks
from dmvpn_agent.doctor.node import Expected, LinkView, NhrpdView, Unknown
from dmvpn_agent.kernel.iptables.chain import ChainState, ShownChain, desired_chains
from dmvpn_agent.kernel.iptables.settings import ChainSettings
from dmvpn_agent.kernel.links.preview import NO_LINKS
from dmvpn_agent.kernel.nftables.multicast_rule import MulticastRule

EXPECTED = Expected(
    {"gre1": "dmvpn"}, "", "", "", None, (), (), {"gre1": frozenset({4})}, None, multicast_group=2
)  # fmt: skip
NHRPD = NhrpdView(
    "8.4.4", "", None, {"gre1": "dmvpn"}, frozenset({("gre1", 4)}), frozenset(), 2, frozenset({("gre1", 4)})
)
LINK = LinkView("gre", True, 1400, None, ("10.255.0.1/32",), multicast=True)
CHAINS = desired_chains(ChainSettings(multicast=MulticastRule(("gre1",), 2)))
SHOWN = ShownChain(("-o gre1 -j NFLOG", "-o gre1 -j DROP"), {"OUTPUT": 1})


def _faults(checks: Any) -> dict[str, Check]:
    return {check.name: check for check in checks if check.level is not Level.OK}


@pytest.mark.parametrize(
    ("nhrpd", "name", "do"),
    [
        (
            replace(NHRPD, multicast_group=None),
            "nhrp multicast-nflog-group",
            "in frr.conf: nhrp multicast-nflog-group 2",
        ),
        (
            replace(NHRPD, multicast_group=1),
            "nhrp multicast-nflog-group",
            "in frr.conf: nhrp multicast-nflog-group 2",
        ),
        (
            replace(NHRPD, multicasts=frozenset()),
            "ip nhrp map multicast on gre1",
            "in frr.conf: interface gre1, ip nhrp map multicast dynamic on a hub",
        ),
    ],
)
def test_nhrpd_must_copy_multicast_packets(nhrpd: NhrpdView, name: str, do: str) -> None:
    """From the group that the agent logs to, and to somebody; without the rule nhrpd may be as it is."""
    assert not _faults(nhrpd_checks(NHRPD, EXPECTED))
    assert _faults(nhrpd_checks(nhrpd, EXPECTED))[name].do.startswith(do)
    assert not _faults(nhrpd_checks(nhrpd, replace(EXPECTED, multicast_group=None)))


def test_the_interface_must_take_multicast() -> None:
    """A GRE interface does not by itself."""

    def faults(link: LinkView, expected: Expected) -> dict[str, Check]:
        node: Any = SimpleNamespace(links={"gre1": link}, tunnels=NO_LINKS)
        return _faults(tunnel_checks(node, expected))

    off = replace(LINK, multicast=False)
    assert not faults(LINK, EXPECTED)
    assert "ip link set gre1 multicast on" in faults(off, EXPECTED)["multicast on gre1"].do
    assert not faults(off, replace(EXPECTED, multicast_group=None))


@pytest.mark.parametrize(
    ("state", "level"),
    [
        (ChainState("legacy", {4: SHOWN}), Level.OK),
        (ChainState("legacy", {4: None}), Level.FAULT),
        (ChainState("nf_tables", {4: replace(SHOWN, jumps={})}), Level.FAULT),
        (ChainState("nf_tables", {4: replace(SHOWN, rules=SHOWN.rules[:1])}), Level.FAULT),
        (Unknown("iptables-save cannot be started"), Level.FAULT),
        (Unknown("you must be root", permission=True), Level.WARNING),
    ],
)
def test_the_chain_of_iptables_must_be_there(state: ChainState | Unknown, level: Level) -> None:
    """With all its rules and one jump; with the variant, and what to do if it cannot be read."""
    expected = replace(EXPECTED, chains=CHAINS)
    node: Any = SimpleNamespace(
        forwards=True, forwards_ipv6=True, routes={}, table=frozenset(), refusals={}, iptables=state, tunnels=NO_LINKS
    )
    (check,) = (check for check in kernel_checks(node, expected) if check.name == "chain of iptables")
    assert check.level is level
    if isinstance(state, ChainState):
        assert state.variant in check.found


def test_what_iptables_cannot_have_is_named() -> None:
    """A node without nft has to install it, or to do without the source filter."""
    node: Any = SimpleNamespace(
        forwards=True,
        forwards_ipv6=True,
        routes={},
        table=Unknown("nft cannot be started"),
        refusals=Unknown("nft cannot be started"),
        iptables=ChainState("", {}),
        tunnels=NO_LINKS,
    )
    expected = replace(EXPECTED, sections={"source filter": frozenset({"map nbma4"})})
    assert (
        "turn the source filter off: iptables cannot have it"
        in _faults(kernel_checks(node, expected))["source filter"].do
    )
