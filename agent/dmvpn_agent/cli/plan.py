"""``plan``: what the agent would change in FRR, nftables and iptables, at tunnel interfaces, and for the uplinks.

The configuration need not be in force yet.

Like an agent that starts now, the command judges the stored peers again and compares the desired neighbors and
filters with FRR's. It writes nothing.
"""

import asyncio
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dmvpn_agent.addresses import IP_VERSIONS, Address
from dmvpn_agent.admission.bindings import NhrpdUnavailable
from dmvpn_agent.admission.frr_nhrpd import FrrNhrpd
from dmvpn_agent.admission.peers import Revoked
from dmvpn_agent.bgp.bgpd import FrrUnavailable
from dmvpn_agent.bgp.change_text import describe
from dmvpn_agent.bgp.desired import desired
from dmvpn_agent.bgp.frr_bgpd import FrrBgpd
from dmvpn_agent.bgp.plan import Change, Plan, RemoveNeighbor, plan, subject
from dmvpn_agent.bgp.problem import BgpProblem
from dmvpn_agent.bgp.problems import bgp_problems, without_blocked
from dmvpn_agent.bgp.settings import BgpSettings, Instance
from dmvpn_agent.bgp.vtysh_lines import annotate, render
from dmvpn_agent.cli import plan_nftables
from dmvpn_agent.cli.plan_kernel import kernel_json, kernel_text, read_kernel
from dmvpn_agent.cli.sections import section
from dmvpn_agent.cli.stored_peers import StoredPeers, judged
from dmvpn_agent.config.settings import Config
from dmvpn_agent.explain.context import JudgingContext, load_context
from dmvpn_agent.frr.terminals import Terminals
from dmvpn_agent.policy.peer import Peer
from dmvpn_agent.runtime import logs
from dmvpn_agent.runtime.document import Code, Exit, RequestError
from dmvpn_agent.runtime.output import say_json, say_lines
from dmvpn_agent.runtime.sqlite_file import StoreUnreadable


@dataclass(frozen=True, slots=True)
class Preview:
    """The result. ``denied``: the stored peers that the configuration does not accept."""

    instance: Instance
    peers: tuple[Peer, ...]
    denied: tuple[Revoked, ...]
    plan: Plan
    problems: tuple[BgpProblem, ...]

    @property
    def different(self) -> bool:
        """Tell whether FRR differs from the desired state, or has a serious problem."""
        return bool(
            self.plan.changes or self.plan.operator_neighbors or any(problem.serious for problem in self.problems)
        )

    @property
    def not_stored(self) -> list[str]:
        """Return the neighbors to be removed whose peers are not in the store."""
        known = {str(gone.request.protocol_address) for gone in self.denied}
        known |= {str(peer.protocol_address) for peer in self.peers}
        removed = [str(change.address) for change in self.plan.changes if isinstance(change, RemoveNeighbor)]
        return [address for address in removed if address not in known]


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("--nftables", action="store_true",
                        help="show the nftables table instead, as input of nft, and what differs")  # fmt: skip


def run(arguments: Namespace) -> int:
    """Print the changes; return the exit status. Raises ``ConfigError``."""
    logs.set_up_for_command()
    as_json = arguments.json
    context = load_context(arguments.config)
    if arguments.nftables:
        return plan_nftables.run(context, as_json=as_json)
    bgp = context.config.bgp
    try:
        stored = _judged(context)
        preview = asyncio.run(_preview(context.config, bgp, stored.accepted, stored.denied)) if bgp else None
    except (StoreUnreadable, FrrUnavailable) as error:
        raise RequestError(Code.UNREACHABLE, str(error)) from error
    kernel = asyncio.run(read_kernel(context.config, (*stored.accepted, *stored.restricted)))
    if as_json:
        say_json("plan/1", (_json(preview) if preview else {"managed": False}) | kernel_json(kernel))
    else:
        say_lines(kernel_text(kernel))
        say_lines(_text(preview) if preview else ["The agent does not manage BGP (bgp.enabled is false)."])
    return Exit.DEGRADED if kernel.different or (preview and preview.different) else Exit.HEALTHY


def _judged(context: JudgingContext) -> StoredPeers:
    """Judge the stored peers. Raises ``StoreUnreadable`` if BGP needs them."""
    try:
        return judged(context, asyncio.run(_bound(context)))
    except StoreUnreadable:
        if context.config.bgp:
            raise
        return StoredPeers()


async def _preview(config: Config, bgp: BgpSettings, peers: tuple[Peer, ...], denied: tuple[Revoked, ...]) -> Preview:
    terminals = Terminals(config.frr)
    seen = await FrrBgpd(terminals.reader, terminals.writer, bgp.instance).observe()
    neighbors = desired(peers, bgp)
    found = bgp_problems(
        seen.config,
        bgp,
        neighbors,
        established=[address for address, session in seen.sessions.items() if session.state == "Established"],
        dynamic=[address for address, session in seen.sessions.items() if session.dynamic],
    )
    return Preview(
        bgp.instance, peers, denied, plan(without_blocked(neighbors, seen.config, found), seen.config), found
    )


async def _bound(context: JudgingContext) -> frozenset[Address]:
    """Return the bound addresses, for conflicts between stored peers; none if nhrpd cannot be read."""
    nhrpd = FrrNhrpd(Terminals(context.config.frr).reader, context.config.interfaces)
    try:
        tables = [await nhrpd.bindings(version, lambda _: None) for version in IP_VERSIONS]
    except NhrpdUnavailable:
        return frozenset()
    return frozenset(binding.protocol_address for bindings in tables for binding in bindings)


def _text(preview: Preview) -> Iterator[str]:
    changes = preview.plan.changes
    denied = (f"{gone.request.protocol_address}  {gone.why}" for gone in preview.denied)
    yield from section("STORED PEERS THAT THIS CONFIGURATION DENIES:", denied)
    yield from section(
        "FIX THESE in FRR; until then the agent does not write some neighbors, or they do not work:", preview.problems
    )
    yield from section(
        "NOT CHANGED, because an operator wrote the neighbor. If you remove it, the agent writes its own:",
        preview.plan.operator_neighbors,
    )
    if changes:
        yield "CHANGES, as input of vtysh:"
        yield from annotate(changes, preview.instance)
        yield ""
    if preview.not_stored:
        yield f"The agent removes the neighbors of peers that are not stored ({', '.join(preview.not_stored)})"
        yield "frr.linger_seconds after its start, unless the peers come back before."
        yield ""
    accepted = f"{len(preview.peers)} accepted peers"
    if changes:
        about = len({subject(change) for change in changes})
        yield f"{accepted}; {len(changes)} changes to {about} neighbors and prefix-lists."
    else:
        yield f"{accepted}; nothing to change in FRR."


def _json(preview: Preview) -> dict[str, Any]:
    return {
        "managed": True,
        "different": preview.different,
        "peers": [str(peer.protocol_address) for peer in preview.peers],
        "denied": [
            {"protocol_address": str(gone.request.protocol_address), **gone.why.as_json()}
            for gone in preview.denied
        ],
        "problems": [str(problem) for problem in preview.problems],
        "foreign_neighbors": [str(address) for address in preview.plan.operator_neighbors],
        "not_stored": preview.not_stored,
        "changes": changes_json(preview.plan.changes),
        "vtysh": render(preview.plan.changes, preview.instance),
    }  # fmt: skip


def changes_json(changes: tuple[Change, ...]) -> list[dict[str, str]]:
    """Return the kind, the subject and the description of each change."""
    return [
        {"kind": type(change).__name__, "subject": subject(change), "text": describe(change)} for change in changes
    ]
