"""``reset``: removes everything the agent owns, as if the agent had never run here."""

import asyncio
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from dmvpn_agent.admission.peer_table import read_peers
from dmvpn_agent.bgp.bgpd import FrrRefused, FrrUnavailable
from dmvpn_agent.bgp.change_text import describe
from dmvpn_agent.bgp.frr_bgpd import FrrBgpd
from dmvpn_agent.bgp.neighbors import Desired, owns_list
from dmvpn_agent.bgp.plan import Change, RemoveList, plan
from dmvpn_agent.bgp.settings import Instance
from dmvpn_agent.bgp.vtysh_lines import annotate, render
from dmvpn_agent.cli.plan import changes_json
from dmvpn_agent.config.file import load_contradictory
from dmvpn_agent.config.settings import Config
from dmvpn_agent.frr.terminals import Terminals
from dmvpn_agent.kernel.iptables.chain import CHAIN, ShownChain
from dmvpn_agent.kernel.iptables.chain import TABLE as SECURITY
from dmvpn_agent.kernel.iptables.program import Iptables, IptablesError
from dmvpn_agent.kernel.links.changes import LinkChange, commands
from dmvpn_agent.kernel.links.kernel_links import KernelLinks, LinkError
from dmvpn_agent.kernel.links.read_preview import own_changes
from dmvpn_agent.kernel.nftables.firewall import FirewallError
from dmvpn_agent.kernel.nftables.program import Nftables
from dmvpn_agent.kernel.nftables.script import TABLE
from dmvpn_agent.kernel.routes.netlink_tables import NetlinkTables, RoutesError
from dmvpn_agent.kernel.routes.tables import Change as RouteChange
from dmvpn_agent.kernel.routes.tables import Tables
from dmvpn_agent.kernel.routes.tables import plan as plan_routes
from dmvpn_agent.runtime import logs
from dmvpn_agent.runtime.document import Code, Exit, RequestError
from dmvpn_agent.runtime.output import say, say_json, say_lines
from dmvpn_agent.runtime.sqlite_file import StoreUnreadable, delete_file
from dmvpn_agent.runtime.unix_socket import answered

#: Files beside the stored peers that ``--forget`` removes too.
FORGOTTEN = ("known_peers.sqlite", "history.sqlite", "quarantined.sqlite")


@dataclass(frozen=True, slots=True)
class Found:
    """What the agent owns on this node.

    ``changes`` remove it from FRR's BGP ``instance``, ``routes`` its routes and rules from the kernel,
    ``links`` the tunnel interfaces that it made and the addresses that it added to others. ``in_use``: the
    prefix-lists that stay, because an operator's neighbor uses them. ``store`` describes the stored peers; it is
    empty if there are none or if they are to be kept. ``unreadable``: what cannot be read, and why.
    """

    changes: tuple[Change, ...]
    instance: Instance
    in_use: tuple[str, ...]
    table: bool
    links: tuple[LinkChange, ...]
    store: str
    chains: Mapping[int, ShownChain]
    routes: tuple[RouteChange, ...]
    unreadable: tuple[str, ...]

    @property
    def anything(self) -> bool:
        """Tell whether there is anything to remove."""
        return bool(self.changes or self.table or self.chains or self.links or self.store or self.routes)


class Reset:
    """FRR, nftables and the store of one node. ``forget``: remove the stored peers too."""

    def __init__(self, config: Config, *, forget: bool) -> None:
        self._config = config
        self._forget = forget
        self._terminals = Terminals(config.frr)
        self._firewall = Nftables()
        self._iptables = Iptables()
        self._routes = NetlinkTables()
        self._store = config.state_directory / "agent.sqlite"

    async def find(self) -> Found:
        """Return what the agent owns."""
        unreadable: list[str] = []
        changes: tuple[Change, ...] = ()
        in_use: tuple[str, ...] = ()
        instance, table = Instance(0, self._config.bgp.vrf if self._config.bgp else ""), False
        try:
            observed = (await self._bgpd(instance).observe()).config
        except FrrUnavailable as error:
            unreadable += [str(error)] if self._config.bgp else []
        else:
            changes = plan(Desired(), observed).changes
            instance = replace(instance, as_number=observed.as_number or 0)
            going = {change.prefix_list for change in changes if isinstance(change, RemoveList)}
            in_use = tuple(name for name in observed.prefix_lists if owns_list(name) and name not in going)
        try:
            table = await self._firewall.show() is not None
        except FirewallError as error:
            unreadable += [str(error)] if self._config.table.keeps_table else []
        routes: tuple[RouteChange, ...] = ()
        try:
            routes = plan_routes(Tables(), (await self._routes.observe()).own)
        except RoutesError as error:
            unreadable += [str(error)] if self._config.uplink else []
        links: tuple[LinkChange, ...] = ()
        try:
            links = await own_changes(self._config.interfaces)
        except LinkError as error:
            unreadable += [str(error)]
        chains = await self._iptables.leftovers()
        return Found(changes, instance, in_use, table, links, self._stored(), chains, routes, tuple(unreadable))

    async def remove(self, found: Found) -> list[str]:
        """Remove it; return the errors. FRR comes first, because the redirect rule alone does no harm."""
        errors = []
        try:
            errors += await self._clear_frr(found)
        except FrrUnavailable as error:
            errors.append(str(error))
        try:
            if found.table:
                await self._firewall.remove()
            await self._iptables.remove(found.chains)
        except (FirewallError, IptablesError) as error:
            errors.append(str(error))
        for change in found.links:
            try:
                await KernelLinks().apply(change)
            except LinkError as error:
                errors.append(str(error))
        try:
            await self._routes.apply(found.routes)
        except RoutesError as error:
            errors.append(str(error))
        try:
            if found.store:
                for name in (self._store.name, *FORGOTTEN):
                    delete_file(self._store.with_name(name))
        except OSError as error:
            errors.append(str(error))
        return errors

    def _bgpd(self, instance: Instance) -> FrrBgpd:
        return FrrBgpd(self._terminals.reader, self._terminals.writer, instance)

    async def _clear_frr(self, found: Found) -> list[str]:
        bgpd = self._bgpd(found.instance)
        try:
            await bgpd.apply(found.changes)
        except FrrRefused:
            pass
        else:
            return []
        # One by one, so that a refusal does not stop the other changes. A neighbor whose prefix-list is gone can
        # announce nothing.
        errors = []
        for change in plan(Desired(), (await bgpd.observe()).config).changes:
            try:
                await bgpd.apply((change,))
            except FrrRefused as refusal:
                errors.append(f"{describe(change)}: FRR refuses: {refusal}")
        return errors

    def _stored(self) -> str:
        if not self._forget:
            return ""
        try:
            if not self._store.exists():
                return ""
            return f"{len(read_peers(self._store))} stored peers in {self._store}"
        except (OSError, StoreUnreadable) as error:
            return f"stored peers, which cannot be read: {error}"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("--yes", action="store_true", help="do not ask; --json removes nothing without this")
    parser.add_argument("--forget", action="store_true", help="remove the stored peers too")


def run(arguments: Namespace) -> int:
    """Remove what the agent owns, after asking; return the exit status.

    Raises ``ConfigError`` and ``RequestError``.
    """
    logs.set_up_for_command()
    config = load_contradictory(arguments.config)
    reset = Reset(config, forget=arguments.forget)
    _refuse_while_running(config)
    found = asyncio.run(reset.find())
    if not arguments.json:
        say_lines(_text(found))
    agreed = arguments.yes or (not arguments.json and found.anything and _ask())
    if agreed:
        _refuse_while_running(config)
    errors = asyncio.run(reset.remove(found)) if agreed and found.anything else []
    left = asyncio.run(reset.find()) if agreed else found
    if arguments.json:
        say_json("reset/1", {"found": _json(found), "left": _json(left), "trouble": errors})
    elif agreed:
        say_lines(_outcome(found, left, errors, arguments.forget))
    elif found.anything:
        say("Nothing was removed.")
    if left.unreadable:
        return Exit.UNREACHABLE
    return Exit.DEGRADED if left.anything or errors else Exit.HEALTHY


def _refuse_while_running(config: Config) -> None:
    if answered(config.control_socket):
        raise RequestError(
            Code.REFUSED,
            f"an agent runs (it answers on {config.control_socket}) and would write everything again; stop it first",
        )


def _ask() -> bool:
    print("Remove all this? The BGP sessions with these peers end, and their routes are lost. [y/N] ", end="",
          file=sys.stderr, flush=True)  # fmt: skip
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _text(found: Found) -> Iterator[str]:
    if not found.anything:
        yield "There is nothing of the agent's to remove."
    if found.changes:
        yield "IN FRR, removed with this input of vtysh:"
        yield from (f"  {line}" for line in annotate(found.changes, found.instance))
    if found.table:
        yield "IN NFTABLES:"
        yield f"  table {TABLE}"
    for version in found.chains:
        yield f"IN IPTABLES FOR IPv{version}:"
        yield f"  chain {CHAIN} of table {SECURITY}, and the jumps to it"
    if found.links:
        yield "TUNNEL INTERFACES AND ADDRESSES:"
        yield from (f"  {line}" for change in found.links for line in commands(change))
    if found.routes:
        yield "IN THE KERNEL'S ROUTES, removed:"
        yield from (f"  {change.subject}" for change in found.routes)
    if found.store:
        yield "IN THE STATE DIRECTORY:"
        yield f"  {found.store}"
    if found.in_use:
        yield "STAYS, because an operator's neighbor uses it as its filter:"
        yield from (f"  prefix-list {name}" for name in found.in_use)
    if found.unreadable:
        yield "CANNOT BE READ:"
        yield from (f"  {why}" for why in found.unreadable)


def _outcome(found: Found, left: Found, errors: list[str], forget: bool) -> Iterator[str]:
    if errors:
        yield "ERRORS:"
        yield from (f"  {why}" for why in errors)
    if left.anything or left.unreadable:
        yield "STILL THERE:"
        yield from (f"  {line}" for line in _text(left))
    elif found.anything:
        yield "Everything was removed."
    if found.changes:
        yield "If you saved FRR's configuration with these lines (`write memory`), save it again."
    if found.changes and not forget:
        yield "The stored peers are kept: an agent that starts writes their neighbors again. --forget removes them."


def _json(found: Found) -> dict[str, Any]:
    return {
        "anything": found.anything,
        "changes": changes_json(found.changes),
        "vtysh": render(found.changes, found.instance),
        "prefix_lists_in_use": list(found.in_use),
        "nftables_table": found.table,
        "iptables_chains": list(found.chains),
        "tunnels": [line for change in found.links for line in commands(change)],
        "routes": [str(change.subject) for change in found.routes],
        "store": found.store,
        "unreadable": list(found.unreadable),
    }
