"""What the doctor asks the real nft."""

import pytest

from contract.namespaces import in_network_namespace, needs
from dmvpn_agent.doctor.inspect_nftables import read_table, section_refusals, titled_sections
from dmvpn_agent.kernel.nftables.program import Nftables
from dmvpn_agent.kernel.nftables.refused import NEEDS
from dmvpn_agent.kernel.nftables.section import SectionName
from dmvpn_agent.kernel.nftables.settings import TableSettings
from dmvpn_agent.runtime.program import Completed

pytestmark = [pytest.mark.contract, needs("nft")]

SETTINGS = TableSettings(("gre1",), clamps_mss=True)


@in_network_namespace
async def test_nothing_is_refused_or_changed_by_asking() -> None:
    """The table does not exist afterwards either."""
    assert set(titled_sections(SETTINGS)) == {"MSS clamp"}
    assert await section_refusals(SETTINGS) == {}
    assert await read_table() == frozenset()


@in_network_namespace
async def test_a_refusal_has_nfts_words_and_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """As from a kernel that lacks a module."""
    nft = Nftables._nft

    async def older(self: Nftables, *words: str, stdin: str = "") -> Completed:
        if "maxseg" in stdin:
            return Completed(1, "", "Error: Operation not supported")
        return await nft(self, *words, stdin=stdin)

    monkeypatch.setattr(Nftables, "_nft", older)
    why, do = (await section_refusals(SETTINGS))["MSS clamp"]
    assert "Operation not supported" in why
    assert NEEDS[SectionName.MSS][0] in do
