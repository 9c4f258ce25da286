"""The sections that are desired, by the settings and the accepted peers."""

from collections.abc import Collection

from dmvpn_agent.kernel.nftables.blocked import BLOCKED
from dmvpn_agent.kernel.nftables.group_rules import groups_section
from dmvpn_agent.kernel.nftables.mss_clamp import mss_section
from dmvpn_agent.kernel.nftables.section import Elements, Section
from dmvpn_agent.kernel.nftables.settings import TableSettings
from dmvpn_agent.kernel.nftables.source_filter import source_filter_section
from dmvpn_agent.policy.peer import Peer


def desired_sections(settings: TableSettings, peers: Collection[Peer], present: Elements) -> tuple[Section, ...]:
    """Return the desired sections; none if the agent keeps no table.

    ``present``: the elements in the table, so that what they assign stays as it is.
    """
    if not settings.keeps_table:
        return ()
    sections = [BLOCKED]
    if settings.redirect:
        sections.append(settings.redirect.section())
    if settings.source_filter:
        sections.append(source_filter_section(settings.source_filter, settings.interfaces, peers, present))
    if settings.guard:
        sections.append(settings.guard.section())
    if settings.clamps_mss:
        sections.append(mss_section(settings.interfaces))
    if settings.groups:
        sections.append(groups_section(settings.groups, settings.interfaces, peers))
    if settings.multicast:
        sections.append(settings.multicast.section())
    return tuple(sections)
