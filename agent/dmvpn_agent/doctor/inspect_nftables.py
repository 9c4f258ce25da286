"""What the doctor reads of nftables: the agent's table, and which of its sections nft refuses."""

from dmvpn_agent.doctor.node import GUARD_TITLE
from dmvpn_agent.kernel.nftables.desired import desired_sections
from dmvpn_agent.kernel.nftables.gre_guard import GreGuard
from dmvpn_agent.kernel.nftables.program import Nftables
from dmvpn_agent.kernel.nftables.refused import NEEDS, remedy
from dmvpn_agent.kernel.nftables.section import Section, SectionName
from dmvpn_agent.kernel.nftables.settings import TableSettings

#: The sections that an operator configures.
_TITLES = {
    SectionName.REDIRECT: "redirect rule",
    SectionName.SOURCE_FILTER: "source filter",
    SectionName.GUARD: GUARD_TITLE,
    SectionName.GROUPS: "groups",
    SectionName.MULTICAST: "multicast",
    SectionName.MSS: "MSS clamp",
}


def titled_sections(settings: TableSettings) -> dict[str, Section]:
    """Return the configured sections by their titles."""
    sections = desired_sections(settings, (), {})
    return {_TITLES[section.name]: section for section in sections if section.name in _TITLES}


async def section_refusals(settings: TableSettings) -> dict[str, tuple[str, str]]:
    """Return, by title, why nft refuses a section, and what to do. Raises ``FirewallError``."""
    found = {}
    for title, section in titled_sections(settings).items():
        if why := await Nftables().refusal(section):
            found[title] = (why, remedy(NEEDS[section.name][0]))
    return found


async def guard_refusal(guard: GreGuard | None) -> str:
    """Return why nft refuses the GRE guard; empty if it does not, or is off. Raises ``FirewallError``."""
    return await Nftables().refusal(guard.section()) if guard else ""


async def read_table() -> frozenset[str]:
    """Return the objects in the agent's table; none if it is missing. Raises ``FirewallError``."""
    shown = await Nftables().show()
    return frozenset(shown.content) if shown else frozenset()
