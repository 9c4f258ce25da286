"""The GRE guard's rules follow the kernel's choice of the interface, as an oracle makes it."""

import re
from dataclasses import dataclass, replace
from ipaddress import ip_address
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from dmvpn_agent.addresses import Address
from dmvpn_agent.kernel.events import IFF_UP, LinkEvent
from dmvpn_agent.kernel.nftables.gre_guard import GreGuard
from dmvpn_agent.kernel.nftables.gre_interfaces import gre_interfaces, other_senders, receivers
from dmvpn_agent.kernel.nftables.source_filter import FilterMode

TUNNELS = ("gre1",)
REMOTE = [ip_address("203.0.113.1"), ip_address("203.0.113.2")]
LOCAL = [ip_address("192.0.2.1"), ip_address("192.0.2.2")]
UPLINKS = {name: LinkEvent(at, name, present=True) for at, name in enumerate(("up0", "up1"), 1)}
KEYS = [42, 0, None]


@dataclass(frozen=True)
class _Packet:
    """As it is received: source and destination; as it is sent: the same ends."""

    remote: Address
    local: Address
    device: str
    key: int | None


@st.composite
def _interfaces(draw: st.DrawFn) -> dict[str, LinkEvent]:
    links = dict(UPLINKS)
    seen = set()
    for at, name in enumerate(("gre1", "gre6", "gre7", "gre8"), 10):
        key = draw(st.sampled_from(KEYS))
        link = LinkEvent(
            at, name, present=True, kind="gre", flags=draw(st.sampled_from([IFF_UP, IFF_UP, 0])),
            local=draw(st.none() | st.sampled_from(LOCAL)), underlay=draw(st.sampled_from([0, 1, 2])),
            remote=None if name == "gre1" else draw(st.none() | st.sampled_from(REMOTE)), keys=(key, key),
        )  # fmt: skip
        ends = link.local, link.remote, link.keys, link.underlay
        if ends not in seen:  # the kernel refuses a second one
            links[name] = link
            seen.add(ends)
    return links


PACKETS = [_Packet(*one) for one in product(REMOTE, LOCAL, UPLINKS, KEYS)]


def _kernel(links: dict[str, LinkEvent], packet: _Packet) -> set[str]:
    """ip_tunnel_lookup: the interface that receives the packet; several if that depends on when they were made."""
    device = UPLINKS[packet.device].index
    candidates: set[str] = set()
    for remote, local in ((True, True), (True, False), (False, True), (False, False)):
        fitting = {
            name: link
            for name, link in links.items()
            if link.kind == "gre" and link.up
            and link.remote == (packet.remote if remote else None)
            and link.local == (packet.local if local else None)
            and (link.keys[0] == packet.key or (not remote and not local and {link.keys[0], packet.key} <= {0, None}))
        }  # fmt: skip
        bound = {name for name, link in fitting.items() if link.underlay == device}
        if bound:
            return bound
        candidates = candidates or set(fitting)
    return candidates


def _fits(conditions: str, packet: _Packet, *, received: bool) -> bool:
    far, near = ("saddr", "daddr") if received else ("daddr", "saddr")
    named = {"iifname": packet.device, "oifname": packet.device, far: str(packet.remote), near: str(packet.local)}
    for field, differs, value in re.findall(r"(\w+name|[sd]addr) (!= )?({.*?}|\S+)", conditions):
        if (named[field] in re.sub(r'[{}",]', " ", value).split()) is bool(differs):
            return False
    return True


def _is_guarded(links: dict[str, LinkEvent], packet: _Packet) -> bool:
    """Tell whether the rules guard a received packet."""
    for one, conditions in receivers(gre_interfaces(TUNNELS, links), packet.key):
        if _fits(conditions, packet, received=True):
            return one.is_tunnel
    return True


@given(_interfaces())
def test_what_the_kernel_gives_to_a_tunnel_is_guarded_and_what_it_gives_to_another_is_not(
    links: dict[str, LinkEvent],
) -> None:
    """Packets of an interface without addresses and device are guarded: it receives what fits no other one.

    Between two others of one precision the kernel chooses by age, which the rules do not know.
    """
    for packet in PACKETS:
        found = _kernel(links, packet)
        guarded = _is_guarded(links, packet)
        if not found or "gre1" in found:
            assert guarded
        else:
            of_all = [not (link.remote or link.local or link.underlay) for link in map(links.get, found) if link]
            assert guarded in of_all


@given(_interfaces())
def test_what_a_tunnel_sends_is_guarded(links: dict[str, LinkEvent]) -> None:
    """Except to the remote address of another interface with its key, to which the tunnel has no peer."""
    others = [link for name, link in links.items() if link.kind == "gre" and name != "gre1"]
    for packet in PACKETS:
        if _sends(links["gre1"], packet) and packet.remote not in {link.remote for link in others}:
            assert not _is_excepted(links, packet)


@given(_interfaces())
def test_what_another_interface_sends_is_not_touched(links: dict[str, LinkEvent]) -> None:
    """If its remote address, its own one, or the device that it is bound to tells it from the tunnel."""
    tunnel = links["gre1"]
    for link in (link for name, link in links.items() if link.kind == "gre" and name != "gre1"):
        apart = (
            link.remote
            or (link.local and tunnel.local and link.local != tunnel.local)
            or (link.underlay and tunnel.underlay and link.underlay != tunnel.underlay)
            or ((link.local or link.underlay) and not (tunnel.up and tunnel.keys == link.keys))
        )
        for packet in PACKETS if apart else ():
            assert _is_excepted(links, packet) or not _sends(link, packet)


def _is_excepted(links: dict[str, LinkEvent], packet: _Packet) -> bool:
    senders = other_senders(gre_interfaces(TUNNELS, links), packet.key)
    return any(_fits(conditions, packet, received=False) for conditions in senders)


def _sends(link: LinkEvent, packet: _Packet) -> bool:
    """Tell whether an interface can send a packet."""
    return (
        link.up and link.keys[1] == packet.key
        and link.local in {None, packet.local} and link.remote in {None, packet.remote}
        and link.underlay in {0, UPLINKS[packet.device].index}
    )  # fmt: skip


def test_packets_of_an_interface_in_a_vrf_are_seen_at_both() -> None:
    """And of one that is bound to the VRF, at the VRF and at what is in it."""
    wan = LinkEvent(20, "wan", present=True, kind="vrf")
    up0 = replace(UPLINKS["up0"], master=20)
    seen = {}
    for name, underlay in (("gre6", 1), ("gre7", 20)):
        link = LinkEvent(5, name, present=True, kind="gre", flags=IFF_UP, underlay=underlay)
        (one,) = gre_interfaces(TUNNELS, {"wan": wan, "up0": up0, name: link})
        seen[name] = (one.device, one.sends_by)
    both = frozenset({"up0", "wan"})
    assert seen == {"gre6": ("up0", both), "gre7": ("wan", both)}


def test_a_tunnel_that_is_bound_to_something_unknown_has_no_exceptions() -> None:
    """As to an interface whose name means something else in nft."""
    for name in ('up" accept', "up*"):
        links = {
            name: LinkEvent(1, name, present=True),
            "gre1": LinkEvent(3, "gre1", present=True, kind="gre", flags=IFF_UP, underlay=1, keys=(42, 42)),
            "gre7": LinkEvent(4, "gre7", present=True, kind="gre", flags=IFF_UP, local=LOCAL[0], keys=(42, 42)),
        }
        assert gre_interfaces(TUNNELS, links) == ()
        assert name not in GreGuard(FilterMode.ENFORCE).observing((), links).section().body
