"""The plan of a tunnel interface, over any settings and any state of the kernel."""

from ipaddress import IPv4Address, ip_interface

from hypothesis import given
from hypothesis import strategies as st

from dmvpn_agent.kernel.links.changes import CreateLink, RemoveAddress
from dmvpn_agent.kernel.links.observed import Gre, Observed, ObservedLink
from dmvpn_agent.kernel.links.plan import plan
from dmvpn_agent.kernel.links.settings import TunnelSettings
from fakes.links import FakeLinks

ADDRESSES = [ip_interface(text) for text in ("10.255.0.1/32", "10.255.0.2/32", "10.9.0.1/24", "2001:db8::1/128")]
LOCALS = [None, IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")]
VRF = ObservedLink(50, "vrf", up=True)


def _or_none(values: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.none() | values


SETTINGS = st.builds(
    TunnelSettings,
    name=st.just("gre1"),
    manages=st.just(True),
    local=st.sampled_from(LOCALS),
    device=st.sampled_from([None, "wan"]),
    key=_or_none(st.integers(0, 3)),
    ttl=_or_none(st.integers(0, 2)),
    mtu=_or_none(st.sampled_from([1280, 1400])),
    addresses=st.lists(st.sampled_from([ADDRESSES[0], ADDRESSES[1], ADDRESSES[3]]), unique=True).map(tuple),
    multicast=_or_none(st.booleans()),
    vrf=st.sampled_from([None, "default", "red"]),
    up=_or_none(st.booleans()),
    forwards=st.booleans(),
    rp_filter=_or_none(st.integers(0, 2)),
    uses_pmtu=st.booleans(),
)
GRES = st.builds(
    Gre,
    local=st.sampled_from(LOCALS),
    key=_or_none(st.integers(-1, 3)),
    ttl=st.integers(0, 2),
    device=st.sampled_from([0, 2]),
    multipoint=st.booleans(),
    kept=st.sampled_from([(), (("IFLA_GRE_TOS", 16),)]),
)


@st.composite
def links(draw: st.DrawFn) -> ObservedLink:
    addresses = draw(st.frozensets(st.sampled_from(ADDRESSES)))
    marked = draw(st.frozensets(st.sampled_from(sorted(addresses, key=str)))) if addresses else frozenset()
    return ObservedLink(
        9,
        "gre",
        up=draw(st.booleans()),
        mtu=draw(st.sampled_from([1400, 1476])),
        multicast=draw(st.booleans()),
        master=draw(st.sampled_from([0, 50])),
        gre=draw(GRES),
        addresses=addresses,
        marked=marked,
    )


@given(SETTINGS, st.none() | links())
async def test_a_plan_leads_to_the_wanted_state_and_keeps_what_is_the_operators(
    settings: TunnelSettings, link: ObservedLink | None
) -> None:
    """After it nothing is left to change; no address without the agent's mark is lost; unmanaged values stay."""
    kernel = FakeLinks()
    kernel.links["red"] = VRF
    if link:
        kernel.links["gre1"] = link
    before = await kernel.observe([settings])
    for change in plan(settings, before).changes:
        await kernel.apply(change)
    after = await kernel.observe([settings])
    assert plan(settings, after).changes == ()
    found = after.links["gre1"]
    assert found.gre
    assert found.gre.multipoint
    assert {address.ip for address in settings.addresses} <= {address.ip for address in found.addresses}
    if link:
        assert link.addresses - link.marked <= found.addresses
        if link.gre and link.gre.multipoint:
            assert found.gre.kept == link.gre.kept
            assert settings.mtu is not None or found.mtu == link.mtu
            assert settings.key is not None or found.gre.key == link.gre.key


@given(SETTINGS, links())
def test_an_interface_is_deleted_only_if_nhrpd_could_never_use_it(
    settings: TunnelSettings, link: ObservedLink
) -> None:
    """All else is changed in place, because deleting ends all bindings."""
    found = plan(settings, Observed({"wan": ObservedLink(2, "veth"), "red": VRF, "gre1": link}))
    assert link.gre
    assert any(isinstance(change, CreateLink) for change in found.changes) is not link.gre.multipoint
    removed = {change.address for change in found.changes if isinstance(change, RemoveAddress)}
    assert removed <= link.marked - set(settings.addresses)
