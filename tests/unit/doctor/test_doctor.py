"""The doctor's checks of a node: a sound one, and each fault with what to do."""

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
from dmvpn_agent.doctor.check import Check, Level
from dmvpn_agent.doctor.checks import check_node
from dmvpn_agent.doctor.node import (
    CharonView,
    Expected,
    LinkView,
    NhrpdView,
    NodeView,
    OwnCertificate,
    PortName,
    PortView,
    RunningView,
    SocketView,
    TrapPolicy,
    Unknown,
)
from dmvpn_agent.kernel.nftables.source_filter import FilterMode
from dmvpn_agent.renewal.state import RenewalState
from factories import NOW, YEAR

BRIDGE, CHARON, EVENTS = "/run/dmvpn-agent/charon.vici", "/run/charon.real.vici", "/run/dmvpn-agent/nhrp.sock"
TUNNEL = ip_network("10.255.0.0/24")
EXPECTED = Expected(
    {"gre1": "dmvpn"},
    EVENTS,
    CHARON,
    BRIDGE,
    1,
    ("/etc/swanctl/x509ca",),
    (TUNNEL,),
    {"gre1": frozenset({4})},
    False,
    sections={"redirect rule": frozenset({"set redirected"})},
    guard=FilterMode.ENFORCE,
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
    table=frozenset({"set redirected"}),
    bgp=(),
    ports={name: PortView("127.0.0.1:19342", served=True) for name in PortName},
)


def _problems(view: NodeView, expected: Expected = EXPECTED) -> dict[str, Check]:
    return {check.name: check for check in check_node(view, expected) if check.level is not Level.OK}


def test_a_sound_node_has_no_problem() -> None:
    """With the bridge, and with a patched charon without it."""
    assert _problems(SOUND) == {}
    sockets = {**SOUND.sockets, "nhrpd's charon": _socket("/run/charon.vici", CHARON)}
    assert _problems(replace(SOUND, charon=PATCHED, traps=(), sockets=sockets)) == {}


@pytest.mark.parametrize(
    ("changed", "keys", "do"),
    [(-1, (), ""), (1, (), "dmvpn-agent reload"), (-1, ("role",), "restart dmvpn-agent"), (1, ("role",), "reload")],
)
def test_a_configuration_newer_than_the_running_one_is_a_warning(
    changed: int, keys: tuple[str, ...], do: str
) -> None:
    """Also one that the agent has read, with keys that need a restart."""
    running = RunningView("agent.toml", NOW + timedelta(hours=changed), NOW, keys)
    problems = _problems(replace(SOUND, running=running))
    assert [(name, check.level) for name, check in problems.items()] == (
        [("configuration in force", Level.WARNING)] if do else []
    )
    assert all(do in check.do for check in problems.values())


def test_ipv6_neighbours_that_the_kernel_asks_itself_are_a_fault() -> None:
    """With the commands; on a tunnel without IPv6 nobody asks."""
    address = ("2001:db8:ff::1/128",)
    link = replace(LINK, addresses=(*LINK.addresses, *address))
    expected = replace(EXPECTED, ip_versions={"gre1": frozenset({4, 6})})
    name, command = "IPv6 neighbours of gre1", "sysctl -w net.ipv6.neigh.gre1.app_solicit=1"
    view = replace(SOUND, links={"gre1": link}, neighbours={"gre1": command})
    assert _problems(view, expected)[name].do == command
    assert name not in _problems(replace(view, neighbours={"gre1": ""}), expected)
    assert name not in _problems(view)


def test_a_native_node_without_the_gre_guard_is_warned() -> None:
    """In bridged mode the trap policy keeps GRE without IPsec out; nothing does in native mode."""
    sockets = {**SOUND.sockets, "nhrpd's charon": _socket("/run/charon.vici", CHARON)}
    native = replace(SOUND, charon=PATCHED, traps=(), sockets=sockets)
    for mode in (FilterMode.OFF, FilterMode.COUNT):
        counting = replace(EXPECTED, guard=mode)
        assert _problems(native, counting)["GRE without IPsec"].level is Level.WARNING
        assert _problems(SOUND, counting) == {}


def test_a_kernel_that_cannot_guard_is_one_fault() -> None:
    """Not also that the guard is missing in the table."""
    expected = replace(EXPECTED, sections={"GRE guard": frozenset({"chain guard_input"})})
    problems = _problems(replace(SOUND, guard_refusal="Operation not supported"), expected)
    assert list(problems) == ["IPsec in nftables"]
    assert "CONFIG_XFRM" in problems["IPsec in nftables"].do
    assert list(_problems(SOUND, expected)) == ["GRE guard"]


def _sockets(name: str, socket: SocketView) -> Mapping[str, SocketView]:
    return {**SOUND.sockets, name: socket}


FAULTS: list[tuple[dict[str, Any], str, str]] = [
    ({"charon": Unknown("No such file")}, "charon", "start strongSwan"),
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
    ({"traps": Unknown("ip is not there")}, "trap policy", "install iproute2"),
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
    ({"nhrpd": Unknown("not running")}, "nhrpd", "nhrpd=yes"),
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
    ({"routes": Unknown("ip is not there")}, "routes", "install iproute2"),
    ({"table": frozenset()}, "redirect rule", "start dmvpn-agent"),
    ({"authorities": ()}, "CA certificates", "readable by the user dmvpn-agent"),
    ({"trust_problems": ("x.crl: no CRL",)}, "CA certificates and CRLs", "repair or remove"),
    ({"bgp": (BgpProblem(BgpProblemKind.NO_INSTANCE, "no BGP", "add it"),)}, "bgpd", "add it"),
    ({"bgp": Unknown("not running")}, "bgpd", "bgpd=yes"),
]


@pytest.mark.parametrize(("change", "name", "do"), FAULTS, ids=[f"{name}: {do}" for _, name, do in FAULTS])
def test_a_fault_names_what_to_do(change: dict[str, Any], name: str, do: str) -> None:
    """No other check reports a problem."""
    problems = _problems(replace(SOUND, **change))
    assert list(problems) == [name]
    assert problems[name].level is Level.FAULT
    assert do in problems[name].do
    assert problems[name].expected


WARNINGS: list[tuple[dict[str, Any], str]] = [
    ({"charon": replace(UNPATCHED, certificates=())}, "own certificate"),
    ({"renewal": RenewalState()}, "renewal of the own certificate"),
    ({"renewal": RenewalState(due=NOW, trouble="no route")}, "renewal of the own certificate"),
    ({"crl_fetches": {"http://ca/a.crl": "it answered 404"}}, "CRL from http://ca/a.crl"),
    (
        {"charon": replace(UNPATCHED, certificates=(replace(OWN, not_after=NOW + timedelta(days=3)),))},
        "own certificate",
    ),
    ({"charon": PATCHED}, "mode"),
    ({"charon": replace(UNPATCHED, plugins=frozenset({"vici", "updown"}))}, "plugin updown"),
    ({"swanctl_confined": True}, "AppArmor"),
    ({"traps": Unknown("Operation not permitted", permission=True)}, "trap policy"),
    ({"sockets": _sockets("control", replace(_socket("/x"), served=None))}, "socket, control"),
    ({"nhrpd": replace(NHRPD, redirects=frozenset())}, "ip nhrp redirect on gre1"),
    ({"links": {"gre1": replace(LINK, mtu=1500)}}, "MTU of gre1"),
    ({"bgp": (BgpProblem(BgpProblemKind.NOT_ACTIVATED, "not active", "activate it"),)}, "bgpd"),
]


@pytest.mark.parametrize(("change", "name"), WARNINGS, ids=[name for _, name in WARNINGS])
def test_a_doubtful_or_unreadable_state_is_a_warning(change: dict[str, Any], name: str) -> None:
    """It names what to do."""
    problems = _problems(replace(SOUND, **change))
    assert [(check.name, check.level) for check in problems.values()] == [(name, Level.WARNING)]
    assert problems[name].do


TWO = replace(
    EXPECTED,
    tunnels={"gre1": "dmvpn", "gre2": "dmvpn2"},
    ip_versions={"gre1": frozenset({4}), "gre2": frozenset({4})},
)
OTHER = TrapPolicy(ip_network("198.51.100.1/32"), 2, "transport")


@pytest.mark.parametrize(
    ("traps", "faults"),
    [((TRAP, OTHER), []), ((TRAP,), ["trap policy"]), ((TRAP, replace(OTHER, reqid=1)), ["reqid"])],
)
def test_several_profiles_need_a_policy_and_a_reqid_each(traps: tuple[TrapPolicy, ...], faults: list[str]) -> None:
    """Otherwise charon would initiate the wrong one."""
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
    assert list(_problems(view, TWO)) == faults


def test_a_profile_with_a_pre_shared_key_needs_static_peers() -> None:
    """The policy has rows without ``override`` for them."""
    view = replace(SOUND, charon=replace(UNPATCHED, methods={"dmvpn": Authentication.PRE_SHARED_KEY}))
    assert _problems(view, replace(EXPECTED, serves_keys=True)) == {}


IPV6_LINK = replace(LINK, addresses=(*LINK.addresses, "2001:db8:ff::1/128"))
IPV6_NHRPD = replace(NHRPD, networks=NHRPD.networks | {("gre1", 6)}, redirects=NHRPD.redirects | {("gre1", 6)})
IPV6_EXPECTED = replace(EXPECTED, ip_versions={"gre1": frozenset({4, 6})}, bgp_ipv6=True)
IPV6_SOUND = replace(SOUND, nhrpd=IPV6_NHRPD, links={"gre1": IPV6_LINK})


@pytest.mark.parametrize(
    ("of_any_ca", "foreign", "warned"),
    [({"dmvpn"}, ("CN=Office CA",), True), ({"dmvpn"}, (), False), ({"office"}, ("CN=Office CA",), False)],
)
def test_a_profile_of_any_ca_beside_a_foreign_one_is_a_warning(
    of_any_ca: set[str], foreign: tuple[str, ...], warned: bool
) -> None:
    """A patched charon shows the certificate itself."""
    charon = replace(UNPATCHED, of_any_ca=frozenset(of_any_ca), foreign_authorities=foreign)
    problems = _problems(replace(SOUND, charon=charon))
    assert list(problems) == ["CAs of dmvpn"] * warned
    for check in problems.values():
        assert check.level is Level.WARNING
        assert "CN=Office CA" in check.found
        assert "cacerts" in check.do


def test_a_node_without_ipv6_needs_neither_forwarding_nor_addresses() -> None:
    """A node with both is sound."""
    assert _problems(replace(SOUND, forwards_ipv6=False)) == {}
    assert _problems(IPV6_SOUND, IPV6_EXPECTED) == {}


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
def test_what_ipv6_protocol_addresses_lack_is_a_problem(change: dict[str, Any], name: str, do: str) -> None:
    """If a tunnel network is IPv6."""
    problems = _problems(replace(IPV6_SOUND, **change), IPV6_EXPECTED)
    assert list(problems) == [name]
    assert do in problems[name].do


def test_an_ipv6_tunnel_without_ipv6_prefixes_is_a_warning() -> None:
    """Bindings without routes are of no use."""
    (check,) = _problems(IPV6_SOUND, replace(IPV6_EXPECTED, bgp_ipv6=False)).values()
    assert (check.name, check.level) == ("bgp.ipv6", Level.WARNING)
    assert "frr/hub-ipv6.conf" in check.do


def test_a_spoke_announces_no_tunnel_network_and_needs_no_route_to_it() -> None:
    """Its hubs announce it."""
    assert _problems(replace(SOUND, routes={}), replace(EXPECTED, announced=())) == {}


@pytest.mark.parametrize(
    ("name", "key", "program"),
    [
        (PortName.AGENT, "metrics.listen", "start dmvpn-agent"),
        (PortName.BRIDGE, "bridge.metrics_listen", "start dmvpn-bridge"),
        (PortName.PAGE, "page.listen", "start dmvpn-page"),
        (PortName.MIRROR, "crl.listen", "start dmvpn-agent"),
    ],
)
def test_a_port_that_is_not_ours_is_a_warning(name: PortName, key: str, program: str) -> None:
    """Everything else works: it is named with its key, and with what to do."""
    for served, found, do in ((False, "another program answers", f"set {key} to another"),
                              (None, "no program listens", program)):  # fmt: skip
        views = {**SOUND.ports, name: PortView("127.0.0.1:19349", served)}
        (check,) = _problems(replace(SOUND, ports=views)).values()
        assert (check.name, check.level) == (name, Level.WARNING)
        assert check.found == f"127.0.0.1:19349: {found}"
        assert do in check.do


def test_the_bridges_port_is_checked_only_if_nhrpd_uses_the_bridge() -> None:
    """With a patched charon the bridge does not run."""
    sockets = {**SOUND.sockets, "nhrpd's charon": _socket(CHARON)}
    direct = replace(SOUND, ports={PortName.BRIDGE: PortView("127.0.0.1:19343", None)}, sockets=sockets)
    assert "metrics, bridge" not in _problems(direct)


def test_a_shared_profile_needs_one_policy() -> None:
    """Two tunnels from one NBMA address."""
    view = replace(
        SOUND,
        nhrpd=replace(BOTH_NHRPD, profiles={"gre1": "dmvpn", "gre2": "dmvpn"}),
        links={"gre1": LINK, "gre2": replace(LINK, key=None)},
    )
    assert list(_problems(view, replace(TWO, tunnels={"gre1": "dmvpn", "gre2": "dmvpn"}))) == ["key of gre2"]


PARTS = (
    "charon",
    "traps",
    "nhrpd",
    "links",
    "forwards",
    "forwards_ipv6",
    "routes",
    "swanctl_confined",
    "table",
    "bgp",
)


@given(st.sets(st.sampled_from(PARTS), min_size=1), st.booleans())
def test_an_unknown_state_is_never_ok(parts: set[str], permission: bool) -> None:
    """In any combination of unreadable parts; the report can always be printed."""
    view = replace(SOUND, **{part: Unknown("a reason", permission) for part in parts})  # type: ignore[arg-type]
    checks = check_node(view, IPV6_EXPECTED)
    unread = [check for check in checks if "a reason" in check.found]
    assert len(unread) == len(parts - ({"traps", "swanctl_confined"} if "charon" in parts else set()))
    assert all(check.level is not Level.OK for check in unread)
    assert "a reason" in "\n".join(render(checks))


def test_the_report_fits_a_terminal_and_commands_stay_whole() -> None:
    """Nothing is cut; without a terminal each check is one line of the table."""
    long = "word " * 40 + "end"
    check = Check("a name", Level.FAULT, long, long, f"run `{long}`")
    lines = "\n".join(render([check], 80)).splitlines()
    assert [line for line in lines if len(line) > 80] == [f"  do        run `{long}`"]
    assert " ".join(lines).count("end") == 4
    assert "\n".join(render([check])).splitlines()[1] == f"FAULT  a name  {long}"
