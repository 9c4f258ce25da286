"""The part of ``plan`` below FRR: tunnel interfaces, uplinks with their routes, nftables and iptables."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from dmvpn_agent.cli.plan_nftables import rules_text
from dmvpn_agent.cli.sections import section
from dmvpn_agent.cli.tunnel_text import tunnel_json, tunnel_text
from dmvpn_agent.config.settings import Config
from dmvpn_agent.kernel.iptables.read_preview import ChainPreview
from dmvpn_agent.kernel.iptables.read_preview import read_preview as read_chains
from dmvpn_agent.kernel.links.preview import LinkPreview
from dmvpn_agent.kernel.links.read_preview import read_preview as read_links
from dmvpn_agent.kernel.nftables.firewall import FirewallError
from dmvpn_agent.kernel.nftables.preview import TablePreview
from dmvpn_agent.kernel.nftables.read_preview import read_preview as read_table
from dmvpn_agent.kernel.uplink.read_preview import UplinkPreview
from dmvpn_agent.kernel.uplink.read_preview import read_preview as read_uplinks
from dmvpn_agent.policy.peer import Peer


@dataclass(frozen=True, slots=True)
class KernelPreview:
    """``table`` is ``None`` if nftables cannot be read, and ``trouble`` says why."""

    links: LinkPreview
    uplinks: UplinkPreview
    table: TablePreview | None
    chains: ChainPreview
    trouble: str | None = None

    @property
    def different(self) -> bool:
        """Tell whether anything would change, needs a correction, or is unknown."""
        return bool(
            self.links.would_change
            or self.links.problems
            or self.uplinks.changes
            or self.uplinks.trouble
            or self.table is None
            or self.table.different
            or self.chains.changes
            or self.chains.trouble
        )


async def read_kernel(config: Config, peers: Collection[Peer]) -> KernelPreview:
    """Read the kernel's part of this node; what cannot be read is in the result."""
    links, uplinks = await read_links(config.links), await read_uplinks(config.uplink)
    chains = await read_chains(config.chain)
    try:
        return KernelPreview(links, uplinks, await read_table(config.table, peers), chains)
    except (FirewallError, OSError) as error:
        return KernelPreview(links, uplinks, None, chains, str(error))


def kernel_text(preview: KernelPreview) -> Iterator[str]:
    """Yield nothing if everything is as configured."""
    yield from tunnel_text(preview.links)
    yield from section("UNKNOWN for the uplinks:", filter(None, [preview.uplinks.trouble]))
    yield from section("CHANGES for the uplinks, before the first probe:", preview.uplinks.changes)
    yield from section("UNKNOWN in nftables:", filter(None, [preview.trouble]))
    yield from section("CHANGES in nftables:", _table(preview.table) if preview.table else ())
    yield from section("UNKNOWN in iptables:", filter(None, [preview.chains.trouble]))
    yield from section("CHANGES in iptables:", preview.chains.changes)


def _table(table: TablePreview) -> Iterator[str]:
    if not table.different:
        return
    if not table.there:
        yield "+table inet dmvpn_agent, with everything in it (`plan --nftables` prints it)"
        return
    yield from rules_text(table)
    if table.added or table.removed:
        yield f"elements of sets: {table.added} to add, {table.removed} to remove"


def kernel_json(preview: KernelPreview) -> dict[str, Any]:
    """Return the changes of each part."""
    table = preview.table
    return {
        "tunnels": tunnel_json(preview.links),
        "uplinks": list(preview.uplinks.changes),
        "nftables": list(_table(table)) if table else [],
        "iptables": list(preview.chains.changes),
        "unreadable": [why for why in (preview.uplinks.trouble, preview.trouble, preview.chains.trouble) if why],
    }
