"""What the documents have an operator type to nft, typed to the real one."""

import re
from pathlib import Path

import pytest

from contract.namespaces import command, in_network_namespace, needs
from dmvpn_agent.kernel.nftables.script import TABLE

pytestmark = [pytest.mark.contract, needs("nft")]

DOCS = Path(__file__).parents[3] / "docs"


@in_network_namespace
async def test_the_table_that_shows_clear_gre_is_taken() -> None:
    """It is no part of the agent's table, from which the agent would take the rule out again before it logs."""
    (script,) = re.findall(r"nft -f - <<'END'\n(.*?)\s*END\n", (DOCS / "gre-guard.md").read_text(), re.DOTALL)
    assert TABLE not in script
    command("nft", "-f", "-", stdin=script)
    assert "log group 5" in command("nft", "list", "table", "inet", "look")
    command("nft", "delete", "table", "inet", "look")


@pytest.mark.parametrize("document", sorted(DOCS.glob("*.md")), ids=lambda path: path.name)
def test_nobody_is_told_to_edit_the_agents_table(document: Path) -> None:
    """The agent repairs it within seconds."""
    assert not re.findall(r"nft (?:add|insert) rule inet dmvpn_agent", document.read_text())
