"""What the doctor says of a node: sound, or what is wrong and what to do."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmvpn_agent.bgp.problem import BgpProblem, BgpProblemKind
from dmvpn_agent.charon.sa import Authentication
from dmvpn_agent.cli.doctor import render
from dmvpn_agent.doctor.checks import Check, Level, examine
from dmvpn_agent.doctor.node import (
    CharonView,
    LinkView,
    MetricsView,
    NhrpdView,
    NodeView,
    OwnCertificate,
    SocketView,
    TrapPolicy,
    Unseen,
    Wanted,
)
from factories import NOW, YEAR

BRIDGE, CHARON, EVENTS = "/run/dmvpn-agent/charon.vici", "/run/charon.real.vici", "/run/dmvpn-agent/nhrp.sock"
TUNNEL = ip_network("10.255.0.0/24")
WANTED = Wanted(
    {"gre1": "dmvpn"}, EVENTS, CHARON, BRIDGE, 1, ("/etc/swanctl/x509ca",), (TUNNEL,), {"gre1": frozenset({4})}, False
)
OWN = OwnCertificate("CN=hub", NOW - YEAR, NOW + YEAR)
BY_CERTIFICATE = {"dmvpn": Authentication.PUBLIC_KEY}
PATCHED = CharonView("5.9.8", True, {"dmvpn": "TRANSPORT"}, (OWN,), frozenset({"vici"}), BY_CERTIFICATE)
UNPATCHED = replace(PATCHED, patched=False)
TRAP = TrapPolicy(ip_network("0.0.0.0/0"), 1, "transport")
GRE1_IPV4, GRE2_IPV4 = ("gre1", 4), ("gre2", 4)
NHRPD = NhrpdView("8.4.4", EVENTS, 1, {"gre1": "dmvpn"}, frozenset({GRE1_IPV4}), frozenset({GRE1_IPV4}))
BOTH_NHRPD = replace(
    NHRPD,
    profiles={"gre1": "dmvpn", "gre2": "dmvpn2"},
    networks=frozenset({GRE1_IPV4, GRE2_IPV4}),
    redirects=frozenset({GRE1_IPV4, GRE2_IPV4}),
)
LINK = LinkView("gre", True, 1400, "0.0.0.42", ("10.255.0.1/32",))


def _socket(path: str, leads_to: str = "") -> SocketView:
    return SocketView(path, leads_to or path, True, "srw-rw---- dmvpn-agent:frrvty", True)


def _refused(path: str) -> SocketView:
    return replace(_socket(path), access="srw------- root:root", refused="nhrpd (frr:frr)")


SOUND = NodeView(
    now=NOW,
    versions={"dmvpn-agent": "0.1.0"},
    charon=UNPATCHED,
    traps=(TRAP,),
    nhrpd=NHRPD,
    sockets={
        "nhrpd's charon": _socket("/run/charon.vici", BRIDGE),
        "charon": _socket(CHARON),
        "nhrpd's events": _socket(EVENTS),
        "control": _socket("/run/dmvpn-agent/control.sock"),
    },
    links={"gre1": LINK},
    forwards=True,
    forwards_ipv6=True,
    routes={TUNNEL: "blackhole static"},
    swanctl_confined=False,
    authorities=("CN=lab CA",),
    trust_problems=(),
    redirect=True,
    bgp=(),
    metrics={
        "agent": MetricsView("127.0.0.1:19342", served=True),
        "bridge": MetricsView("127.0.0.1:19343", served=True),
    },
)


def _wrong(view: NodeView, wanted: Wanted = WANTED) -> dict[str, Check]:
    return {check.name: check for check in examine(view, wanted) if check.level is not Level.OK}


def test_a_sound_node_has_nothing_to_mend() -> None:
    """Bridged, and with a patched charon without the bridge."""
    assert _wrong(SOUND) == {}
    sockets = {**SOUND.sockets, "nhrpd's charon": _socket("/run/charon.vici", CHARON)}
    assert _wrong(replace(SOUND, charon=PATCHED, traps=(), sockets=sockets)) == {}


def _sockets(name: str, socket: SocketView) -> Mapping[str, SocketView]:
    return {**SOUND.sockets, name: socket}


FAULTS: list[tuple[dict[str, Any], str, str]] = [
    ({"charon": Unseen("No such file")}, "charon", "start strongSwan"),
    ({"charon": replace(UNPATCHED, modes={})}, "profile dmvpn", "swanctl --load-all"),
    ({"charon": replace(UNPATCHED, modes={"dmvpn": None})}, "profile dmvpn", "swanctl --load-all"),
    ({"charon": replace(UNPATCHED, modes={"dmvpn": "TUNNEL"})}, "profile dmvpn", "swanctl --load-all"),
    (
        {"charon": replace(UNPATCHED, methods={"dmvpn": Authentication.OTHER})},
        "authentication in dmvpn",
        "auth = pubkey",
    ),
    (
        {"charon": replace(UNPATCHED, methods={"dmvpn": Authentication.PRE_SHARED_KEY})},
        "authentication in dmvpn",
        "for each peer",
    ),
    ({"sockets": _sockets("nhrpd's charon", _socket("/run/charon.vici"))}, "mode", "start dmvpn-bridge"),
    ({"charon": replace(UNPATCHED, certificates=(replace(OWN, not_after=NOW - YEAR),))}, "own certificate", "clock"),
    ({"charon": replace(UNPATCHED, certificates=(replace(OWN, not_before=NOW + YEAR),))}, "own certificate", "clock"),
    ({"traps": ()}, "trap policy", "start_action = trap"),
    ({"traps": (replace(TRAP, reqid=16384),)}, "reqid", "reqid = 1"),
    ({"traps": Unseen("ip is not there")}, "trap policy", "install iproute2"),
    ({"sockets": _sockets("control", SocketView("/x", "/x", False))}, "socket, control", "start dmvpn-agent"),
    ({"sockets": _sockets("charon", replace(_socket(CHARON), served=False))}, "socket, charon", "start strongSwan"),
    ({"sockets": _sockets("charon", _refused(CHARON))}, "socket, charon", "charon.group = charon-vici"),
    (
        {"sockets": _sockets("charon", replace(_socket(CHARON), open_to="frrvty"))},
        "socket, charon",
        "charon.group = charon-vici",
    ),
    ({"sockets": _sockets("nhrpd's events", _refused(EVENTS))}, "socket, nhrpd's events", "frrvty"),
    ({"sockets": _sockets("bgpd's terminal", _refused("/x"))}, "socket, bgpd's terminal", "frrvty"),
    ({"nhrpd": Unseen("not running")}, "nhrpd", "nhrpd=yes"),
    ({"nhrpd": replace(NHRPD, event_socket=None)}, "nhrp event socket", f"nhrp event socket {EVENTS}"),
    ({"nhrpd": replace(NHRPD, event_socket="/other")}, "nhrp event socket", f"nhrp event socket {EVENTS}"),
    ({"nhrpd": replace(NHRPD, nflog_group=2)}, "nhrp nflog-group", "nhrp nflog-group 1"),
    ({"nhrpd": replace(NHRPD, profiles={})}, "profile on gre1", "tunnel protection vici profile dmvpn"),
    ({"nhrpd": replace(NHRPD, networks=frozenset())}, "ip nhrp network-id on gre1", "ip nhrp network-id 1"),
    ({"links": {}}, "interface gre1", "frr/hub.conf"),
    ({"links": {"gre1": replace(LINK, up=False)}}, "interface gre1", "frr/hub.conf"),
    ({"links": {"gre1": replace(LINK, addresses=())}}, "interface gre1", "frr/hub.conf"),
    ({"links": {"gre1": replace(LINK, kind="veth")}}, "interface gre1", "frr/hub.conf"),
    ({"forwards": False}, "forwarding", "net.ipv4.ip_forward=1"),
    ({"routes": {}}, "route to 10.255.0.0/24", "ip route 10.255.0.0/24 blackhole"),
    ({"routes": Unseen("ip is not there")}, "routes", "install iproute2"),
    ({"redirect": False}, "redirect rule", "start dmvpn-agent"),
    ({"authorities": ()}, "CA certificates", "readable by the user dmvpn-agent"),
    ({"trust_problems": ("x.crl: no CRL",)}, "CA certificates and CRLs", "mend or remove"),
    ({"bgp": (BgpProblem(BgpProblemKind.NO_INSTANCE, "no BGP", "add it"),)}, "bgpd", "add it"),
    ({"bgp": Unseen("not running")}, "bgpd", "bgpd=yes"),
]


@pytest.mark.parametrize(("change", "name", "do"), FAULTS, ids=[f"{name}: {do}" for _, name, do in FAULTS])
def test_a_fault_says_what_to_do(change: dict[str, Any], name: str, do: str) -> None:
    """And nothing else is said to be wrong."""
    wrong = _wrong(replace(SOUND, **change))
    assert list(wrong) == [name]
    assert wrong[name].level is Level.FAULT
    assert do in wrong[name].do
    assert wrong[name].expected


WARNINGS: list[tuple[dict[str, Any], str]] = [
    ({"charon": replace(UNPATCHED, certificates=())}, "own certificate"),
    (
        {"charon": replace(UNPATCHED, certificates=(replace(OWN, not_after=NOW + timedelta(days=3)),))},
        "own certificate",
    ),
    ({"charon": PATCHED}, "mode"),
    ({"charon": replace(UNPATCHED, plugins=frozenset({"vici", "updown"}))}, "plugin updown"),
    ({"swanctl_confined": True}, "AppArmor"),
    ({"traps": Unseen("Operation not permitted", permission=True)}, "trap policy"),
    ({"sockets": _sockets("control", replace(_socket("/x"), served=None))}, "socket, control"),
    ({"nhrpd": replace(NHRPD, redirects=frozenset())}, "ip nhrp redirect on gre1"),
    ({"links": {"gre1": replace(LINK, mtu=1500)}}, "MTU of gre1"),
    ({"bgp": (BgpProblem(BgpProblemKind.NOT_ACTIVATED, "not active", "activate it"),)}, "bgpd"),
]


@pytest.mark.parametrize(("change", "name"), WARNINGS, ids=[name for _, name in WARNINGS])
def test_what_may_be_meant_or_cannot_be_seen_is_a_warning(change: dict[str, Any], name: str) -> None:
    """It says what to do all the same, and never that all is well."""
    wrong = _wrong(replace(SOUND, **change))
    assert [(check.name, check.level) for check in wrong.values()] == [(name, Level.WARNING)]
    assert wrong[name].do


TWO = replace(
    WANTED,
    tunnels={"gre1": "dmvpn", "gre2": "dmvpn2"},
    ip_versions={"gre1": frozenset({4}), "gre2": frozenset({4})},
)
OTHER = TrapPolicy(ip_network("198.51.100.1/32"), 2, "transport")


@pytest.mark.parametrize(
    ("traps", "faults"),
    [((TRAP, OTHER), []), ((TRAP,), ["trap policy"]), ((TRAP, replace(OTHER, reqid=1)), ["reqid"])],
)
def test_several_profiles_need_a_policy_and_a_reqid_each(traps: tuple[TrapPolicy, ...], faults: list[str]) -> None:
    """Otherwise charon would begin an SA in the wrong one."""
    view = replace(
        SOUND,
        charon=replace(
            UNPATCHED,
            modes={"dmvpn": "TRANSPORT", "dmvpn2": "TRANSPORT"},
            methods=dict.fromkeys(("dmvpn", "dmvpn2"), Authentication.PUBLIC_KEY),
        ),
        traps=traps,
        nhrpd=BOTH_NHRPD,
        links={"gre1": LINK, "gre2": LINK},
    )
    assert list(_wrong(view, TWO)) == faults


def test_a_profile_with_a_pre_shared_key_is_sound_where_the_policy_has_its_peers() -> None:
    """Rows without ``override``, which are for peers with a certificate."""
    view = replace(SOUND, charon=replace(UNPATCHED, methods={"dmvpn": Authentication.PRE_SHARED_KEY}))
    assert _wrong(view, replace(WANTED, serves_keys=True)) == {}


IPV6_LINK = replace(LINK, addresses=(*LINK.addresses, "2001:db8:ff::1/128"))
IPV6_NHRPD = replace(NHRPD, networks=NHRPD.networks | {("gre1", 6)}, redirects=NHRPD.redirects | {("gre1", 6)})
IPV6_WANTED = replace(WANTED, ip_versions={"gre1": frozenset({4, 6})}, bgp_ipv6=True)
IPV6_SOUND = replace(SOUND, nhrpd=IPV6_NHRPD, links={"gre1": IPV6_LINK})


def test_a_node_without_ipv6_is_asked_for_none_of_it() -> None:
    """Neither for forwarding nor for addresses; one with both is sound."""
    assert _wrong(replace(SOUND, forwards_ipv6=False)) == {}
    assert _wrong(IPV6_SOUND, IPV6_WANTED) == {}


@pytest.mark.parametrize(
    ("change", "name", "do"),
    [
        ({"forwards_ipv6": False}, "forwarding of IPv6", "net.ipv6.conf.all.forwarding=1"),
        (
            {"nhrpd": replace(IPV6_NHRPD, networks=NHRPD.networks)},
            "ipv6 nhrp network-id on gre1",
            "ipv6 nhrp network-id 1",
        ),
        (
            {"nhrpd": replace(IPV6_NHRPD, redirects=NHRPD.redirects)},
            "ipv6 nhrp redirect on gre1",
            "ipv6 nhrp redirect",
        ),
        ({"links": {"gre1": LINK}}, "IPv6 addresses of gre1", "PROTOCOL-ADDRESS/128"),
        (
            {"links": {"gre1": replace(IPV6_LINK, link_local=("fe80::5efe:cb00:7101/64",))}},
            "IPv6 addresses of gre1",
            "addrgenmode none",
        ),
        (
            {"links": {"gre1": replace(LINK, addresses=("2001:db8:ff::1/64",))}},
            "IPv6 addresses of gre1",
            "PROTOCOL-ADDRESS/128",
        ),
    ],
)
def test_what_ipv6_protocol_addresses_lack_is_told(change: dict[str, Any], name: str, do: str) -> None:
    """Where a tunnel network is IPv6."""
    wrong = _wrong(replace(IPV6_SOUND, **change), IPV6_WANTED)
    assert list(wrong) == [name]
    assert do in wrong[name].do


def test_an_ipv6_tunnel_without_ipv6_prefixes_is_a_warning() -> None:
    """Bindings without routes are hardly meant."""
    (check,) = _wrong(IPV6_SOUND, replace(IPV6_WANTED, bgp_ipv6=False)).values()
    assert (check.name, check.level) == ("bgp.ipv6", Level.WARNING)
    assert "frr/hub-ipv6.conf" in check.do


def test_a_spoke_announces_no_tunnel_network_and_needs_no_route_to_it() -> None:
    """It has it from its hubs."""
    assert _wrong(replace(SOUND, routes={}), replace(WANTED, announced=())) == {}


@pytest.mark.parametrize(
    ("served", "found", "do"),
    [
        (False, "another program answers", "set metrics.listen to another"),
        (None, "nobody listens", "start dmvpn-agent"),
    ],
)
def test_a_metrics_port_that_is_not_ours_is_a_warning(served: bool | None, found: str, do: str) -> None:
    """Everything else works; the bridge's counts only where there is a bridge."""
    views = {name: MetricsView("127.0.0.1:19342", served) for name in ("agent", "bridge")}
    wrong = _wrong(replace(SOUND, metrics=views))
    assert list(wrong) == ["metrics, agent", "metrics, bridge"]
    check = wrong["metrics, agent"]
    assert check.level is Level.WARNING
    assert found in check.found
    assert do in check.do
    direct = replace(SOUND, metrics=views, sockets={**SOUND.sockets, "nhrpd's charon": _socket(CHARON)})
    assert "metrics, bridge" not in _wrong(direct)


def test_a_shared_profile_needs_one_policy() -> None:
    """Two tunnels over one NBMA address."""
    view = replace(
        SOUND,
        nhrpd=replace(BOTH_NHRPD, profiles={"gre1": "dmvpn", "gre2": "dmvpn"}),
        links={"gre1": LINK, "gre2": replace(LINK, key=None)},
    )
    assert list(_wrong(view, replace(TWO, tunnels={"gre1": "dmvpn", "gre2": "dmvpn"}))) == ["key of gre2"]


PARTS = (
    "charon",
    "traps",
    "nhrpd",
    "links",
    "forwards",
    "forwards_ipv6",
    "routes",
    "swanctl_confined",
    "redirect",
    "bgp",
)


@given(st.sets(st.sampled_from(PARTS), min_size=1), st.booleans())
def test_what_could_not_be_seen_is_never_taken_for_good(parts: set[str], permission: bool) -> None:
    """Whatever fails to be looked at, together with whatever else; the report can always be printed."""
    view = replace(SOUND, **{part: Unseen("a reason", permission) for part in parts})  # type: ignore[arg-type]
    checks = examine(view, IPV6_WANTED)
    unseen = [check for check in checks if "a reason" in check.found]
    assert len(unseen) == len(parts - ({"traps", "swanctl_confined"} if "charon" in parts else set()))
    assert all(check.level is not Level.OK for check in unseen)
    assert "a reason" in "\n".join(render(checks))
