"""What is wrong with a node, and what to do about it: findings, computed from what was seen of it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from dmvpn_agent.addresses import Network
from dmvpn_agent.charon.sa import Authentication
from dmvpn_agent.doctor.node import CharonView, LinkView, NhrpdView, NodeView, SocketView, TrapPolicy, Unseen, Wanted

#: Compiled into nhrpd.
NHRPD_VICI = "/run/charon.vici"
#: Before a certificate ends, when it is to be renewed.
RENEWAL = timedelta(days=14)
#: FRR's word for an IP version.
_FAMILIES = {4: "ip", 6: "ipv6"}


class Level(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at; ``expected`` and ``do`` (what to do about it) are empty where it is as it should be."""

    name: str
    level: Level
    found: str
    expected: str = ""
    do: str = ""


def examine(seen: NodeView, wanted: Wanted) -> tuple[Check, ...]:
    """Return every check, in the order in which one should mend things."""
    return (
        *(Check(f"version of {name}", Level.OK, version) for name, version in seen.versions.items()),
        *_charon(seen, wanted),
        *_traps(seen, wanted),
        *_sockets(seen, wanted),
        *_nhrpd(seen.nhrpd, wanted),
        *_tunnels(seen, wanted),
        *_kernel(seen, wanted),
        *_trust(seen, wanted),
        *_bgp(seen, wanted),
        *_metrics(seen, wanted),
    )


def _judge(name: str, good: bool, found: object, expected: str, do: str, level: Level = Level.FAULT) -> Check:
    return Check(name, Level.OK, str(found)) if good else Check(name, level, str(found), expected, do)


def _unseen(name: str, unseen: Unseen, do: str) -> Check:
    if unseen.permission:
        return Check(name, Level.WARNING, f"not seen: {unseen.why}", "a look at it", "run the doctor as root")
    return Check(name, Level.FAULT, f"not seen: {unseen.why}", "a look at it", do)


def _charon(seen: NodeView, wanted: Wanted) -> Iterator[Check]:
    charon = seen.charon
    if isinstance(charon, Unseen):
        do = f"start strongSwan; its charon.plugins.vici.socket must be ike.vici_socket ({wanted.vici_socket})"
        yield _unseen("charon", charon, do)
        return
    yield Check("charon", Level.OK, f"{charon.version}, {'patched' if charon.patched else 'unpatched'}")
    yield _mode(charon, seen.sockets["nhrpd's charon"], wanted)
    for profile in sorted(set(wanted.tunnels.values())):
        known = profile in charon.modes
        mode = charon.modes.get(profile)
        yield _judge(f"profile {profile}", mode == "TRANSPORT",
                     f"mode {mode}" if mode else "a connection without such a child" if known else "no connection",
                     f"a connection {profile} with a child {profile}, mode = transport",
                     "see swanctl/ for one; then `swanctl --load-all`")  # fmt: skip
        if known:
            yield _authentication(profile, charon.methods.get(profile, Authentication.OTHER), wanted)
    yield from _certificates(charon, seen)
    yield _judge("plugin updown", "updown" not in charon.plugins, "loaded" if "updown" in charon.plugins else "off",
                 "off: with it, whoever can open charon's socket can run commands as root",
                 "charon.plugins.updown.load = no, as in swanctl/strongswan-bridged.conf, and restart strongSwan",
                 Level.WARNING)  # fmt: skip
    if isinstance(seen.swanctl_confined, Unseen):
        yield _unseen("AppArmor", seen.swanctl_confined, "mount securityfs")
    elif seen.swanctl_confined:
        yield Check("AppArmor", Level.WARNING, f"swanctl's profile does not name {wanted.vici_socket}",
                    "a profile that lets swanctl open it: Linux 7, and Ubuntu's kernels, refuse it otherwise",
                    "deploy/README.md, AppArmor: one line")  # fmt: skip


def _mode(charon: CharonView, nhrpds: SocketView, wanted: Wanted) -> Check:
    bridged = nhrpds.leads_to == wanted.bridge_socket
    direct = nhrpds.leads_to == wanted.vici_socket
    found = ("bridged" if bridged else "native" if direct else f"neither: {NHRPD_VICI} leads to {nhrpds.leads_to}"
             ) + (", charon is patched" if charon.patched else ", charon is unpatched")  # fmt: skip
    if charon.patched:
        do = f"stop the bridge, remove the link {NHRPD_VICI}, take swanctl/native.conf and restart strongSwan"
        level = Level.WARNING if bridged else Level.FAULT
        return _judge("mode", direct, found, "native: nhrpd speaks to a patched charon itself", do, level)
    do = f"start dmvpn-bridge; its service links {NHRPD_VICI} to {wanted.bridge_socket}"
    return _judge("mode", bridged, found, "bridged: nhrpd cannot work with an unpatched charon", do)


def _authentication(profile: str, by: Authentication, wanted: Wanted) -> Check:
    """Check that a profile's peers can prove who they are: by certificate, or by a key for which there are rows."""
    name, shown = f"authentication in {profile}", by.replace("_", " ")
    if by is Authentication.PRE_SHARED_KEY:
        return _judge(name, wanted.serves_keys, shown, "a [[policy.peer]] without `override` for its peers",
                      "add one for each peer, or use certificates: `auth = pubkey` in remote")  # fmt: skip
    found = "by several methods, by EAP or XAuth, or `auth` is not set" if by is Authentication.OTHER else shown
    return _judge(name, by is Authentication.PUBLIC_KEY, found,
                  "public key in every remote round: otherwise a peer may name itself like another one",
                  f"`auth = pubkey` in each remote section of {profile}; then `swanctl --load-all`")  # fmt: skip


def _certificates(charon: CharonView, seen: NodeView) -> Iterator[Check]:
    if not charon.certificates:
        do = "it belongs into /etc/swanctl/x509, its key into private beside it; then `swanctl --load-creds`"
        expected = "one, unless this node authenticates by a pre-shared key"
        yield Check("own certificate", Level.WARNING, "charon has none with its key", expected, do)
    for own in charon.certificates:
        found = f"{own.subject}, valid {own.not_before:%Y-%m-%d} to {own.not_after:%Y-%m-%d}"
        valid = own.not_before <= seen.now <= own.not_after
        soon = valid and own.not_after - seen.now < RENEWAL
        yield _judge("own certificate", valid and not soon, found, f"valid now, {seen.now:%Y-%m-%d %H:%M} UTC",
                     "look at this node's clock, then have the certificate renewed",
                     Level.WARNING if soon else Level.FAULT)  # fmt: skip


def _traps(seen: NodeView, wanted: Wanted) -> Iterator[Check]:
    if isinstance(seen.charon, Unseen) or seen.charon.patched:
        return  # only the bridge needs them
    traps = seen.traps
    if isinstance(traps, Unseen):
        yield _unseen("trap policy", traps, "`ip xfrm policy` must show GRE policies: install iproute2")
        return
    count = len(set(wanted.tunnels.values()))
    shown = "; ".join(_shown(trap) for trap in traps) or "none"
    expected = f"one for GRE to 0.0.0.0/0 from each profile's addresses ({count})"
    do = "start_action = trap in the child, then `swanctl --load-conns`"
    if count > 1:
        do += "; with several profiles each needs local_ts of its own (swanctl/several-profiles.conf)"
    yield _judge("trap policy", len(traps) >= count, shown, expected, do)
    if traps:
        numbers = [trap.reqid for trap in traps]
        yield _judge("reqid", len(set(numbers)) == len(numbers) and all(0 < number < 16384 for number in numbers),
                     ", ".join(map(str, numbers)),
                     "one set in each child, another for each profile (charon allocates from 16384 on)",
                     "reqid = 1 in the child, 2 in that of a second profile")  # fmt: skip


def _shown(trap: TrapPolicy) -> str:
    return f"from {trap.source}, reqid {trap.reqid}, {trap.mode}"


_VICI_GROUP = (
    "charon.group = charon-vici, as in swanctl/strongswan-bridged.conf (deploy/README.md), and restart strongSwan"
)
_GROUP = "run dmvpn-agent with FRR's group frrvty, /run/dmvpn-agent as 2750 dmvpn-agent:frrvty (deploy/README.md)"
#: Of each socket: who serves it, and what to do where it is refused to who must use it.
_SOCKETS = {
    "nhrpd's charon": ("strongSwan, or dmvpn-bridge where charon is unpatched", _GROUP),
    "charon": (
        "strongSwan, with charon.plugins.vici.socket at this path",
        f"{_VICI_GROUP}; the user dmvpn-agent must be a member of it",
    ),
    "nhrpd's events": ("dmvpn-agent (`dmvpn-agent run`)", _GROUP),
    "control": ("dmvpn-agent (`dmvpn-agent run`)", _GROUP),
    "nhrpd's terminal": ("FRR", _GROUP),
    "bgpd's terminal": ("FRR", _GROUP),
}


def _sockets(seen: NodeView, wanted: Wanted) -> Iterator[Check]:
    for name, socket in seen.sockets.items():
        server, opening = _SOCKETS[name]
        found = f"{socket.path}: {socket.access or 'not there'}"
        if socket.there and socket.served is None:
            yield Check(f"socket, {name}", Level.WARNING, f"{found}, not to be opened by this user",
                        "one that is served", "run the doctor as root")  # fmt: skip
            continue
        if socket.refused:
            yield Check(f"socket, {name}", Level.FAULT, f"{found}, refused to {socket.refused}",
                        "one that it may open, directories included", opening)  # fmt: skip
            continue
        if socket.open_to:
            expected = "one for charon's own group: whoever opens it controls all of IPsec"
            found = f"{found}, open to the group {socket.open_to}"
            yield Check(f"socket, {name}", Level.FAULT, found, expected, _VICI_GROUP)
            continue
        served = "served" if socket.served else "nobody listens"
        yield _judge(f"socket, {name}", socket.there and bool(socket.served),
                     f"{found}, {served}" if socket.there else found, "one that is served",
                     f"start {server}")  # fmt: skip


def _nhrpd(nhrpd: NhrpdView | Unseen, wanted: Wanted) -> Iterator[Check]:
    if isinstance(nhrpd, Unseen):
        yield _unseen("nhrpd", nhrpd, "nhrpd=yes in /etc/frr/daemons, and start FRR")
        return
    yield _judge("nhrp event socket", nhrpd.event_socket == wanted.event_socket, nhrpd.event_socket or "none",
                 f"{wanted.event_socket}; without one nhrpd accepts everybody",
                 f"in frr.conf: nhrp event socket {wanted.event_socket}")  # fmt: skip
    if wanted.nflog_group is not None:
        yield _judge("nhrp nflog-group", nhrpd.nflog_group == wanted.nflog_group, nhrpd.nflog_group or "none",
                     f"{wanted.nflog_group}, as redirect.nflog_group",
                     f"in frr.conf: nhrp nflog-group {wanted.nflog_group}")  # fmt: skip
    for name, profile in wanted.tunnels.items():
        found = nhrpd.profiles.get(name)
        yield _judge(f"profile on {name}", found == profile, found or "none", f"{profile}, as in nhrp.interfaces",
                     f"in frr.conf: interface {name}, tunnel protection vici profile {profile}")  # fmt: skip
        for version in sorted(wanted.ip_versions[name]):
            yield from _nhrp(nhrpd, name, version, redirects=wanted.nflog_group is not None)


def _nhrp(nhrpd: NhrpdView, interface: str, version: int, *, redirects: bool) -> Iterator[Check]:
    """Check what nhrpd is configured to do for protocol addresses of one IP version."""
    family = _FAMILIES[version]
    there = (interface, version) in nhrpd.networks
    yield _judge(f"{family} nhrp network-id on {interface}", there, "there" if there else "missing",
                 f"there: a tunnel network is IPv{version}",
                 f"in frr.conf: interface {interface}, {family} nhrp network-id 1")  # fmt: skip
    if redirects:
        there = (interface, version) in nhrpd.redirects
        yield _judge(f"{family} nhrp redirect on {interface}", there, "there" if there else "missing",
                     "there: it makes shortcuts",
                     f"in frr.conf: interface {interface}, {family} nhrp redirect", Level.WARNING)  # fmt: skip


def _tunnels(seen: NodeView, wanted: Wanted) -> Iterator[Check]:
    if isinstance(seen.links, Unseen):
        yield _unseen("tunnel interfaces", seen.links, "`ip -json -details address` must work: install iproute2")
        return
    for name in wanted.tunnels:
        link = seen.links.get(name)
        do = f"the head of frr/hub.conf shows how {name} is made; in the system's network configuration"
        if link is None:
            yield Check(f"interface {name}", Level.FAULT, "not there", "a GRE interface, up, with an address", do)
            continue
        found = f"{link.kind}, {'up' if link.up else 'down'}, {', '.join(link.addresses) or 'no address'}"
        good = link.kind == "gre" and link.up and bool(link.addresses)
        yield _judge(f"interface {name}", good, found, "a GRE interface, up, with an address", do)
        if 6 in wanted.ip_versions[name]:
            yield _ipv6_addresses(name, link)
        yield _judge(f"MTU of {name}", 0 < link.mtu <= 1476, link.mtu, "1400 or so: GRE and ESP need room",
                     f"ip link set {name} mtu 1400", Level.WARNING)  # fmt: skip
        if len(wanted.tunnels) > 1:
            yield _judge(f"key of {name}", link.key is not None, link.key or "none",
                         "one, by which the kernel tells the tunnels apart",
                         f"make {name} with `key N`, as on all nodes of that DMVPN", Level.WARNING)  # fmt: skip


def _ipv6_addresses(name: str, link: LinkView) -> Check:
    """Check what nhrpd takes for its IPv6 protocol address: up to FRR 10.3 the address with the shortest prefix."""
    addresses = [one for one in (*link.addresses, *link.link_local) if ":" in one]
    good = len(addresses) == 1 and addresses[0].endswith("/128")
    return _judge(f"IPv6 addresses of {name}", good, ", ".join(addresses) or "none",
                  "one, a /128: nhrpd up to FRR 10.3 takes a link-local address first, and refuses it",
                  f"ip link set {name} addrgenmode none, before it is set up; ip address add PROTOCOL-ADDRESS/128"
                  f" dev {name}")  # fmt: skip


def _kernel(seen: NodeView, wanted: Wanted) -> Iterator[Check]:
    yield _forwarding("forwarding", seen.forwards, "net.ipv4.ip_forward")
    if wanted.bgp_ipv6 or _has_ipv6(wanted):
        yield _forwarding("forwarding of IPv6", seen.forwards_ipv6, "net.ipv6.conf.all.forwarding")
    yield from _routes(seen.routes, wanted)
    if wanted.nflog_group is None:
        return
    if isinstance(seen.redirect, Unseen):
        yield _unseen("redirect rule", seen.redirect, "install nftables; the kernel needs nf_tables and nft_log")
    else:
        yield _judge("redirect rule", seen.redirect, "there" if seen.redirect else "missing",
                     "table inet dmvpn_agent", "start dmvpn-agent, which keeps it")  # fmt: skip


def _has_ipv6(wanted: Wanted) -> bool:
    return any(6 in versions for versions in wanted.ip_versions.values())


def _forwarding(name: str, forwards: bool | Unseen, setting: str) -> Check:
    if isinstance(forwards, Unseen):
        return _unseen(name, forwards, "/proc/sys must be mounted")
    return _judge(name, forwards, "on" if forwards else "off", "on: the node is a router",
                  f"{setting}=1 in /etc/sysctl.d")  # fmt: skip


def _routes(routes: Mapping[Network, str] | Unseen, wanted: Wanted) -> Iterator[Check]:
    if isinstance(routes, Unseen):
        yield _unseen("routes", routes, "`ip -json route` must work: install iproute2")
        return
    for network in wanted.announced:
        family = _FAMILIES[network.version]
        yield _judge(f"route to {network}", network in routes, routes.get(network, "none"),
                     "one of its own: without it bgpd does not announce the network, and packets for a peer that is"
                     " away leave by the default route",
                     f"in frr.conf: {family} route {network} blackhole. FRR drops the line without a word if mgmtd"
                     " (FRR 10 and later) was not started before zebra and staticd")  # fmt: skip


def _trust(seen: NodeView, wanted: Wanted) -> Iterator[Check]:
    yield _judge("CA certificates", bool(seen.authorities), "; ".join(seen.authorities) or "none",
                 f"at least one, in {', '.join(wanted.ca_certificates)}: without one the bridge gives nhrpd no"
                 " certificate", "put the CA's certificate there, readable by the user dmvpn-agent")  # fmt: skip
    for problem in seen.trust_problems:
        yield Check("CA certificates and CRLs", Level.FAULT, problem, "files that can be used",
                    "mend or remove the file; the user dmvpn-agent must be able to read it")  # fmt: skip


def _bgp(seen: NodeView, wanted: Wanted) -> Iterator[Check]:
    if wanted.bgp_ipv6 is False and _has_ipv6(wanted):
        yield Check("bgp.ipv6", Level.WARNING, "false: no IPv6 prefix is exchanged", "true: a tunnel network is IPv6",
                    "bgp.ipv6 = true in agent.toml, and frr/hub-ipv6.conf or frr/spoke-ipv6.conf")  # fmt: skip
    if isinstance(seen.bgp, Unseen):
        yield _unseen("bgpd", seen.bgp, "bgpd=yes in /etc/frr/daemons, and start FRR")
    elif seen.bgp is not None:
        for problem in seen.bgp:
            level = Level.FAULT if problem.serious else Level.WARNING
            yield Check("bgpd", level, problem.found, "what the agent's neighbors need", problem.do)
        if not seen.bgp:
            yield Check("bgpd", Level.OK, "configured for the agent")


def _metrics(seen: NodeView, wanted: Wanted) -> Iterator[Check]:
    bridged = seen.sockets["nhrpd's charon"].leads_to == wanted.bridge_socket
    keys = {"agent": ("dmvpn-agent", "metrics.listen"), "bridge": ("dmvpn-bridge", "bridge.metrics_listen")}
    for name, view in seen.metrics.items():
        if name == "bridge" and not bridged:
            continue
        program, key = keys[name]
        found = {True: "served", False: "another program answers", None: "nobody listens"}[view.served]
        do = f"start {program}" if view.served is None else f"stop that program (`ss -ltnp`), or set {key} to another"
        yield _judge(f"metrics, {name}", bool(view.served), f"{view.listen}: {found}", f"{program}'s /metrics", do,
                     Level.WARNING)  # fmt: skip
