"""The sections that nft or the kernel does not know: the rest of the table works without them.

nft refuses a whole table for one expression or module that is missing.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import structlog

from dmvpn_agent.kernel.nftables.firewall import Firewall
from dmvpn_agent.kernel.nftables.plan import is_new
from dmvpn_agent.kernel.nftables.section import Section, SectionName
from dmvpn_agent.kernel.nftables.settings import TableSettings
from dmvpn_agent.kernel.nftables.shown_table import ShownTable

log = structlog.get_logger()

#: What the sections that can be left out need, and what follows without them.
NEEDS = {
    SectionName.REDIRECT: ("nft_log and nft_limit, Linux 5.6", "spokes get no shortcuts"),
    SectionName.SOURCE_FILTER: (
        "nft_fib_inet and sets of concatenated intervals, Linux 5.6 and nft 0.9.4",
        "packets that a peer may not send pass, and are not counted",
    ),
    SectionName.GROUPS: ("interval sets, Linux 5.6", "packets pass between all groups"),
    SectionName.GUARD: ("CONFIG_XFRM, Linux 5.0 and nft 0.9.1", "GRE without IPsec is neither counted nor dropped"),
    SectionName.MULTICAST: ("nft_log", "routing protocols that use multicast find no peers"),
    SectionName.MSS: ("nft_rt and nft_exthdr, Linux 5.6", "TCP connections may stall where ICMP is dropped"),
}


def remedy(needs: str) -> str:
    """Return what to do for a section that needs this."""
    return f"it needs {needs}: load the module, update the kernel or nft, or turn it off"


class RefusedSections:
    """``why``: what nft says about each section that is left out."""

    def __init__(self, firewall: Firewall) -> None:
        self._firewall = firewall
        self._sections: dict[SectionName, Section] = {}
        self.why: dict[SectionName, str] = {}

    def without(self, settings: TableSettings) -> TableSettings:
        """Return the settings without these sections."""
        off: dict[str, Any] = {name.value: None for name in self.why if name is not SectionName.MSS}
        return replace(settings, **off, clamps_mss=settings.clamps_mss and SectionName.MSS not in self.why)

    def forget(self) -> None:
        """Try all sections again, because the settings changed."""
        self._sections, self.why = {}, {}

    async def find(self, sections: Iterable[Section], shown: ShownTable | None) -> bool:
        """After a refusal of the table leave out what is refused by itself; return whether that is anything.

        A section that the table has already stays: it works as it was written. Raises ``FirewallError``.
        """
        found = False
        for section in sections:
            if section.name not in NEEDS or (shown is not None and not is_new(section, shown)):
                continue
            if why := await self._firewall.refusal(section):
                self._leave_out(section, why)
                found = True
        return found

    def _leave_out(self, section: Section, why: str) -> None:
        self._sections[section.name], self.why[section.name] = section, why
        needs, consequence = NEEDS[section.name]
        log.error("nftables_section_refused", section=str(section.name), why=why, consequence=consequence,
                  do=f"{remedy(needs)}; the agent tries it again at each check")  # fmt: skip

    async def retry(self) -> None:
        """Take in again what nft does not refuse any more. Raises ``FirewallError``."""
        for name, section in tuple(self._sections.items()):
            if not await self._firewall.refusal(section):
                del self._sections[name], self.why[name]
                log.info("nftables_section_accepted", section=str(name))
