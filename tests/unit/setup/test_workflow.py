"""FRR reads its file some time after its daemons serve."""

from collections.abc import Sequence

import pytest

from dmvpn_agent.setup import workflow
from dmvpn_agent.setup.machine import Machine, MachineError
from dmvpn_agent.setup.templates import frr_conf
from dmvpn_agent.setup.workflow import Setup
from nodes import node

NODE = node()


class Frr(Machine):
    """vtysh, whose running configuration is one of these after the other, and the last one from then on."""

    def __init__(self, *configs: str) -> None:
        super().__init__()
        self._configs = list(configs)

    async def must(self, argv: Sequence[str], stdin: str = "") -> str:
        return self._configs.pop(0) if len(self._configs) > 1 else self._configs[0]


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow, "POLL_SECONDS", 0.0)


def _setup(frr: Frr) -> Setup:
    setup = Setup(lambda line: None)
    setup._machine = frr
    return setup


async def test_a_file_that_is_read_late_is_not_taken_for_dropped() -> None:
    await _setup(Frr("", "hostname x\n", frr_conf(NODE)))._read_back(NODE)


async def test_a_line_that_stays_away_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow, "READ_BACK_SECONDS", 0.0)
    without = frr_conf(NODE).replace(" ip nhrp shortcut\n", "")
    with pytest.raises(MachineError, match="interface gre1 / ip nhrp shortcut"):
        await _setup(Frr(without))._read_back(NODE)
