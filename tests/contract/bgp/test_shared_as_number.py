"""Spokes that share an AS number, on real bgpds: which routes each has, and what the agent reports."""

import json
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from contract.frr import HUB, SPEAKER, RealBgpd, available
from dmvpn_agent.bgp.desired import desired
from dmvpn_agent.bgp.plan import plan
from dmvpn_agent.bgp.problem import BgpProblemKind as Kind
from dmvpn_agent.bgp.problems import bgp_problems
from factories import SETTINGS, spoke
from fakes.waiting import until_now

pytestmark = [pytest.mark.contract, pytest.mark.skipif(not available(), reason="needs root and FRR's bgpd")]

PEERS = [spoke(2, "192.168.2.0/24", as_number=64512), spoke(3, "192.168.3.0/24", as_number=64512)]
OPEN = HUB.replace(
    "  neighbor spokes activate\n", "  neighbor spokes activate\n  neighbor spokes route-map ALL out\n"
)
OPEN = f"route-map ALL permit 10\n{OPEN}"


class Hub:
    """A hub whose spokes 2 and 3 announce 192.168.N.0/24 and have AS 64512."""

    def __init__(self, stack: ExitStack, own: int = 65000) -> None:
        self.real = RealBgpd(OPEN.replace("router bgp 65000", f"router bgp {own}"))
        stack.callback(self.real.stop)
        self.real.start()
        self.spokes = {number: self._spoke(stack, number, own) for number in (2, 3)}

    def _spoke(self, stack: ExitStack, number: int, own: int) -> RealBgpd:
        text = (
            SPEAKER.replace("64514", "64512").replace("10.255.0.2", f"10.255.0.{number}").replace("65000", str(own))
        )
        lines = [line for line in text.splitlines() if "network 192" not in line and "network 10." not in line]
        lines.insert(-1, f"  network 192.168.{number}.0/24")
        bgpd = RealBgpd("\n".join(lines) + "\n", namespace=self.real.pid, address=f"10.255.0.{number}")
        stack.callback(bgpd.stop)
        bgpd.start()
        return bgpd

    async def accept(self) -> None:
        bgpd = self.real.adapter()
        await bgpd.apply(plan(desired(PEERS, SETTINGS), (await bgpd.observe()).config).changes)
        until_now(lambda: self._prefixes(self.real) == {"192.168.2.0/24", "192.168.3.0/24"})

    def of(self, number: int) -> set[str]:
        return self._prefixes(self.spokes[number])

    def routes(self) -> set[str]:
        return self._prefixes(self.real)

    @staticmethod
    def _prefixes(bgpd: RealBgpd) -> set[str]:
        return set(json.loads(bgpd.type("show bgp ipv4 unicast json") or "{}").get("routes", {}))


@pytest.fixture
def hub() -> Iterator[Hub]:
    with ExitStack() as stack:
        yield Hub(stack)


async def test_without_as_override_each_drops_the_others_prefix_and_the_agent_reports_it(hub: Hub) -> None:
    """Both sessions are Established, and the hub has sent the prefix."""
    await hub.accept()
    sent = "show bgp ipv4 unicast neighbors 10.255.0.3 advertised-routes json"
    until_now(lambda: "192.168.2.0/24" in hub.real.type(sent))
    observed = (await hub.real.adapter().observe()).config
    problems = bgp_problems(observed, SETTINGS, desired(PEERS, SETTINGS))
    assert Kind.SHARED_AS_NUMBER in {problem.kind for problem in problems}
    assert hub.of(2) == {"192.168.2.0/24"}
    assert hub.of(3) == {"192.168.3.0/24"}


async def test_with_as_override_each_has_the_others_prefix(hub: Hub) -> None:
    """bgpd also sends each spoke its own prefix back, within its update-group: the spoke's own route stays best."""
    hub.real.type("configure terminal", "router bgp 65000", "address-family ipv4 unicast",
                  "neighbor spokes as-override")  # fmt: skip
    await hub.accept()
    observed = (await hub.real.adapter().observe()).config
    problems = bgp_problems(observed, SETTINGS, desired(PEERS, SETTINGS))
    assert Kind.SHARED_AS_NUMBER not in {problem.kind for problem in problems}
    until_now(lambda: hub.of(2) == hub.of(3) == {"192.168.2.0/24", "192.168.3.0/24"})
    paths = json.loads(hub.spokes[2].type("show bgp ipv4 unicast json"))["routes"]
    assert [path["path"] for path in paths["192.168.3.0/24"]] == ["65000 65000"]
    best = [path["path"] for path in paths["192.168.2.0/24"] if path.get("bestpath")]
    assert best == [""]


async def test_a_prefix_that_a_spoke_withdraws_is_gone_everywhere(hub: Hub) -> None:
    """Although it had come back to the spoke: the hub accepts no path with its own AS number."""
    hub.real.type("configure terminal", "router bgp 65000", "address-family ipv4 unicast",
                  "neighbor spokes as-override")  # fmt: skip
    await hub.accept()
    until_now(lambda: hub.of(2) == hub.of(3) == {"192.168.2.0/24", "192.168.3.0/24"})
    hub.spokes[2].type("configure terminal", "router bgp 64512", "address-family ipv4 unicast",
                       "no network 192.168.2.0/24")  # fmt: skip
    until_now(lambda: hub.of(2) == hub.of(3) == hub.routes() == {"192.168.3.0/24"})
