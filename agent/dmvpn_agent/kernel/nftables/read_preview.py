"""What the agent would change in its nftables table, for the commands that change nothing."""

from collections.abc import Collection
from dataclasses import replace

from dmvpn_agent.kernel.listing import blocks, differences
from dmvpn_agent.kernel.nftables.desired import desired_sections
from dmvpn_agent.kernel.nftables.preview import TablePreview, preview
from dmvpn_agent.kernel.nftables.program import Nftables
from dmvpn_agent.kernel.nftables.section import Section
from dmvpn_agent.kernel.nftables.settings import TableSettings
from dmvpn_agent.kernel.read_links import read_links
from dmvpn_agent.policy.peer import Peer
from dmvpn_agent.runtime.network_namespace import in_empty_namespace


async def read_preview(settings: TableSettings, peers: Collection[Peer]) -> TablePreview:
    """Compare the table with the desired one. Raises ``FirewallError``; ``OSError`` if the interfaces are unreadable.

    Rules can only be compared in nft's words: nft writes them into an empty network namespace and lists them there.
    Without permission for that they are not compared.
    """
    if settings.guard:
        settings = replace(settings, guard=settings.guard.observing(settings.interfaces, await read_links()))
    firewall = Nftables()
    shown = await firewall.show() if settings.keeps_table else None
    sections = desired_sections(settings, peers, shown.members if shown else {})
    found = preview(sections, shown)
    if shown is None or not sections:
        return found
    try:
        then = await in_empty_namespace(lambda: _tried(firewall, sections))
    except OSError as error:
        return replace(found, uncompared=str(error))
    return replace(found, rules=tuple(differences(blocks(await firewall.text()), blocks(then))))


async def _tried(firewall: Nftables, sections: tuple[Section, ...]) -> str:
    await Nftables().install(sections)
    return await firewall.text()
