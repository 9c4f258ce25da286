"""Filters on a real bgpd: what they permit, and that they apply to established sessions."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from contract.bgpd_subjects import Subject, apply, needs_bgpd
from contract.frr import SPEAKER, RealBgpd
from dmvpn_agent.addresses import Network
from dmvpn_agent.bgp.desired import desired
from dmvpn_agent.bgp.neighbors import DENY_ANY, Observed, list_name
from dmvpn_agent.bgp.plan import plan
from dmvpn_agent.bgp.sessions import parse_bgp_summary
from dmvpn_agent.bgp.settings import Instance
from dmvpn_agent.bgp.vtysh_lines import render
from dmvpn_agent.policy.peer import Peer, PeerKind
from factories import SETTINGS, spoke
from fakes.bgpd_model import BgpdModel
from fakes.frr_states import FULL, wanted
from fakes.waiting import until_now


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ip_network(text) for text in texts)


EVERYTHING = tuple((network, network.max_prefixlen) for network in _networks("0.0.0.0/0", "::/0"))
WITHHELD = _networks("10.1.0.0/16", "192.168.2.128/25", "2001:db8:1::/48")
#: A hub that announces everything, the same with a default route, and a spoke with the default route.
CARRIERS = (
    replace(spoke(2), kind=PeerKind.HUB, transit=EVERYTHING, withheld=WITHHELD),
    replace(spoke(3), kind=PeerKind.HUB, transit=EVERYTHING, withheld=WITHHELD, default_route=True),
    replace(spoke(4, "0.0.0.0/0", "::/0"), withheld=WITHHELD, default_route=True),
)
ANNOUNCED = _networks(
    "0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "10.0.0.0/8", "10.0.0.0/15", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3/32",
    "10.2.0.0/16",
    "192.168.2.0/24", "192.168.2.0/25", "192.168.2.128/25", "192.168.2.192/26", "::/0", "2001:db8::/32",
    "2001:db8:1::/48", "2001:db8:1:2::/64", "2001:db8:2::/48", "2001:db8:1::1/128", "::ffff:10.1.0.0/112",
)  # fmt: skip


@needs_bgpd
async def test_bgpd_evaluates_a_filter_as_the_model_does(real: RealBgpd) -> None:
    """FRR's own answer: no prefix that overlaps a withheld network, and the default route only if permitted."""
    real.fresh()
    goal = desired(CARRIERS, FULL)
    bgpd = real.adapter()
    await bgpd.apply(plan(goal, (await bgpd.observe()).config).changes)
    model = BgpdModel(ANNOUNCED)
    model.run(render(plan(goal, Observed()).changes, Instance(65000)))
    for peer in CARRIERS:
        permitted = {
            route for route in ANNOUNCED if _permits(real, list_name(peer.protocol_address, route.version), route)
        }
        assert permitted == model.permitted(str(peer.protocol_address))
        withheld = {route for route in ANNOUNCED if any(one.overlaps(route) for one in WITHHELD)}
        assert {route for route in permitted & withheld if route.prefixlen} == set()
        assert any(route.prefixlen == 0 for route in permitted) is peer.default_route


def _permits(real: RealBgpd, prefix_list: str, route: Network) -> bool:
    return "yields PERMIT" in real.type(f"debug prefix-list {prefix_list} match {route}")


async def test_a_list_of_an_earlier_version_is_in_sync_after_one_pass(subject: Subject) -> None:
    """It has no denials, and permissions at the sequence numbers of denials."""
    lines = ("permit any", "permit 10.255.0.0/24 le 32")
    subject.type("configure terminal", *(
        f"ip prefix-list dmvpn-agent-10.255.0.2-in seq {seq} {line}"
        for seq, line in ((4294967295, "deny any"), (5, lines[0]), (10, lines[1]))
    ), "end")  # fmt: skip
    goal = desired(CARRIERS[:1], SETTINGS)
    await apply(subject, goal)
    observed = (await subject.bgpd.observe()).config
    assert plan(goal, observed).changes == ()
    *_, permit, last = (entry for _, entry in sorted(observed.prefix_lists["dmvpn-agent-10.255.0.2-in"].items()))
    assert (str(permit), last) == ("permit 0.0.0.0/0 ge 1 le 32", DENY_ANY)


@pytest.mark.contract
@needs_bgpd
async def test_a_filter_applies_to_an_established_session() -> None:
    """Only permitted networks pass; after an edit only the new ones, in the same session; after removal none."""
    hub = RealBgpd()
    hub.start()
    speaker = RealBgpd(SPEAKER, namespace=hub.pid, address="10.255.0.2")
    speaker.start()
    try:
        bgpd = hub.adapter()

        async def put(*peers: Peer) -> None:
            await bgpd.apply(plan(wanted(list(peers)), (await bgpd.observe()).config).changes)

        def received() -> int:
            sessions = parse_bgp_summary(hub.type("show bgp ipv4 unicast summary json"))
            session = sessions.get(ip_address("10.255.0.2"))
            return session.prefixes if session and session.state == "Established" else 0

        await put(spoke(2, "192.168.2.0/24"))
        until_now(lambda: received() == 2)
        established = _established(hub)
        await put(spoke(2, "192.168.3.0/24"))
        until_now(lambda: received() == 1)
        assert "192.168.3.0" in hub.type("show bgp ipv4 unicast neighbors 10.255.0.2 routes")
        await put(spoke(2, "192.168.2.0/24", "192.168.3.0/24"))
        until_now(lambda: received() == 3)
        assert _established(hub) == established
        await put()
        until_now(lambda: "192.168" not in hub.type("show bgp ipv4 unicast"))
    finally:
        speaker.stop()
        hub.stop()


def _established(hub: RealBgpd) -> str:
    text = hub.type("show bgp ipv4 unicast summary json")
    return next(line for line in text.splitlines() if "connectionsEstablished" in line)
