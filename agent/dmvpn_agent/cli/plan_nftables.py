"""``plan --nftables``: the nftables table that the agent would write."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace

from dmvpn_agent.cli.stored_peers import judged
from dmvpn_agent.explain.context import JudgingContext
from dmvpn_agent.kernel.nftables.desired import desired_sections
from dmvpn_agent.kernel.nftables.firewall import FirewallError
from dmvpn_agent.kernel.nftables.preview import TablePreview, preview
from dmvpn_agent.kernel.nftables.program import Nftables
from dmvpn_agent.kernel.read_links import read_links
from dmvpn_agent.runtime.document import Code, Exit, RequestError
from dmvpn_agent.runtime.output import say_json, say_lines
from dmvpn_agent.runtime.sqlite_file import StoreUnreadable


def run(context: JudgingContext, *, as_json: bool) -> int:
    """Print the table; return the exit status."""
    try:
        found = asyncio.run(_preview(context))
    except (StoreUnreadable, FirewallError, OSError) as error:
        raise RequestError(Code.UNREACHABLE, str(error)) from error
    if as_json:
        say_json("plan/1", {"nftables": {
            "different": found.different, "there": found.there, "missing": [str(name) for name in found.missing],
            "elements_added": found.added, "elements_removed": found.removed, "script": found.script,
        }})  # fmt: skip
    else:
        say_lines(_text(found))
    return Exit.DEGRADED if found.different else Exit.HEALTHY


async def _preview(context: JudgingContext) -> TablePreview:
    peers, _ = judged(context, frozenset())
    settings = context.config.table
    if settings.guard:
        settings = replace(settings, guard=settings.guard.observing(settings.interfaces, await read_links()))
    shown = await Nftables().show() if settings.keeps_table else None
    return preview(desired_sections(settings, peers, shown.members if shown else {}), shown)


def _text(found: TablePreview) -> Iterator[str]:
    """Yield the table as input of ``nft -f -``, with what differs as a comment."""
    if not found.script:
        yield "# The agent keeps no table: every section is off."
        return
    if not found.there:
        yield "# There is no table now."
    elif found.missing:
        yield f"# The table lacks: {', '.join(found.missing)}."
    if found.there:
        yield f"# Elements to add: {found.added}; to remove: {found.removed}. Rules are compared by the agent alone."
    yield from found.script.splitlines()
