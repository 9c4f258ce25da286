"""Changes of elements that nft refuses, or takes too long for."""

import pytest

from dmvpn_agent.kernel.nftables.element_writer import ElementWriter
from dmvpn_agent.kernel.nftables.firewall import FirewallError, FirewallSlowError
from dmvpn_agent.kernel.nftables.plan import ChangeElements
from dmvpn_agent.kernel.nftables.program import Nftables
from dmvpn_agent.runtime.telemetry import Telemetry

SETS = {"a": "  set a {\n    type mark\n", "m": "  map m {\n    type ipv4_addr : mark\n"}
REMOVAL = ChangeElements(
    added={"m": frozenset({"192.0.2.1 : 2"})},
    removed={"a": frozenset({"1"})},
    kept={"a": frozenset({"3"}), "m": frozenset()},
    sets=SETS,
)


class _Nftables(Nftables):
    """Takes too long for what has one of the words."""

    def __init__(self, *slow: str) -> None:
        super().__init__()
        self._slow = slow
        self.scripts: list[str] = []

    async def change(self, script: str) -> None:
        self.scripts.append(script)
        if any(word in script for word in self._slow):
            raise FirewallSlowError("nft did not end within 10 s and was killed")


def _writer(firewall: Nftables) -> ElementWriter:
    return ElementWriter(firewall, Telemetry(), lambda _: False)


async def test_if_a_removal_takes_too_long_the_set_is_filled_anew() -> None:
    """With what stays in it; what else is added, is added too."""
    firewall = _Nftables("delete element")
    await _writer(firewall).apply(REMOVAL)
    assert firewall.scripts[1:] == [
        "flush set inet dmvpn_agent a\n"
        "table inet dmvpn_agent {\n  set a {\n    type mark\n    elements = {\n      3 }\n  }\n}\n"
        "table inet dmvpn_agent {\n  map m {\n    type ipv4_addr : mark\n"
        "    elements = {\n      192.0.2.1 : 2 }\n  }\n}\n"
    ]


async def test_after_that_nothing_is_removed_in_the_slow_way() -> None:
    """Each try would keep a peer in for as long as nft may take."""
    firewall = _Nftables("delete element")
    writer = _writer(firewall)
    await writer.apply(REMOVAL)
    await writer.apply(REMOVAL)
    assert len([script for script in firewall.scripts if "delete element" in script]) == 1


async def test_what_takes_too_long_is_not_tried_in_parts() -> None:
    """Each part would take as long."""
    firewall = _Nftables("table")
    with pytest.raises(FirewallError):
        await _writer(firewall).apply(ChangeElements({"a": frozenset("1234")}, {}, sets=SETS))
    assert len(firewall.scripts) == 1
