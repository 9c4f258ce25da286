"""What an operator sees of an agent that cannot write its state directory."""

from pathlib import Path

import pytest

from contract.agent import Agent
from contract.app.test_commands import HUB, Console
from dmvpn_agent.runtime.document import Exit
from fakes.waiting import until_now

pytestmark = pytest.mark.contract


@pytest.mark.parametrize("file", ["agent", "quarantined", "history", "known_peers"])
def test_a_state_file_that_cannot_be_written_is_a_fault(
    file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whichever it is; and a quarantine that a restart would end says so."""
    (tmp_path / f"{file}.sqlite" / "in the way").mkdir(parents=True)
    agent = Agent(tmp_path, HUB)
    try:
        agent.start()
        agent.wait_for("agent_ready")
        console = Console(agent, capsys)
        assert agent.ask() == b"eventid=1\nresult=accept\n\n"
        until_now(lambda: not console.json("status")[1]["data"]["store"]["writable"])
        assert f"{tmp_path} cannot be written" in " ".join(console("status")[1].split())
        for command in ("quarantine", "release"):
            status, text = console(command, "spoke1")
            assert (status, "NOT STORED" in text) == (Exit.HEALTHY, file == "quarantined")
    finally:
        agent.kill()
