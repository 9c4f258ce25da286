"""``plan --nftables``: the nftables table that the agent would write."""

import asyncio
from collections.abc import Iterator

from dmvpn_agent.cli.stored_peers import judged
from dmvpn_agent.explain.context import JudgingContext
from dmvpn_agent.kernel.nftables.firewall import FirewallError
from dmvpn_agent.kernel.nftables.preview import TablePreview
from dmvpn_agent.kernel.nftables.read_preview import read_preview
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
            "elements_added": found.added, "elements_removed": found.removed, "rules": list(found.rules),
            "uncompared": found.uncompared, "script": found.script,
        }})  # fmt: skip
    else:
        say_lines(_text(found))
    return Exit.DEGRADED if found.different else Exit.HEALTHY


async def _preview(context: JudgingContext) -> TablePreview:
    stored = judged(context, frozenset())
    return await read_preview(context.config.table, (*stored.accepted, *stored.restricted))


def rules_text(found: TablePreview) -> Iterator[str]:
    """Yield what of the rules differs."""
    yield from (line.expandtabs(4) for line in found.rules)
    if found.uncompared:
        yield f"The rules are not compared: {found.uncompared}; run the command as root."


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
        yield f"# Elements to add: {found.added}; to remove: {found.removed}."
        yield from (f"# {line}" for line in rules_text(found))
    yield from found.script.splitlines()
