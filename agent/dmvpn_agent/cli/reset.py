"""``reset``: everything the agent owns is taken away, as if it had never run here."""

import asyncio
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dmvpn_agent.admission.peer_table import PeerTable
from dmvpn_agent.bgp.bgpd import FrrRefused, FrrUnavailable
from dmvpn_agent.bgp.change_text import describe
from dmvpn_agent.bgp.frr_bgpd import FrrBgpd
from dmvpn_agent.bgp.neighbors import Desired, owns_list
from dmvpn_agent.bgp.plan import Change, RemoveList, plan
from dmvpn_agent.bgp.vtysh_lines import annotate, render
from dmvpn_agent.cli.plan import changes_json
from dmvpn_agent.config.file import Config, load_contradictory
from dmvpn_agent.frr.terminals import Terminals
from dmvpn_agent.kernel.nft import TABLE
from dmvpn_agent.kernel.nftables import Nftables
from dmvpn_agent.kernel.redirect import FirewallError
from dmvpn_agent.runtime import logs
from dmvpn_agent.runtime.output import complain, say, say_lines
from dmvpn_agent.runtime.store import Store, StoreUnreadable
from dmvpn_agent.runtime.unix_socket import answered

EXIT_GONE, EXIT_LEFT, EXIT_UNREADABLE = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Found:
    """What of the agent's is there.

    ``changes`` take it out of FRR, in the BGP instance ``as_number``; ``in_use`` are prefix-lists that stay, because
    an operator's neighbor is filtered by them. ``store`` says what is stored, empty where nothing is or where it is
    to be kept. ``unreadable``: what could not be looked at, and why.
    """

    changes: tuple[Change, ...]
    as_number: int
    in_use: tuple[str, ...]
    table: bool
    store: str
    unreadable: tuple[str, ...]

    @property
    def anything(self) -> bool:
        """Tell whether there is something to remove."""
        return bool(self.changes or self.table or self.store)


class Reset:
    """One node's FRR, nftables and store. ``forget``: the stored peers go too."""

    def __init__(self, config: Config, *, forget: bool) -> None:
        self._config = config
        self._forget = forget
        self._terminals = Terminals(config.frr)
        self._firewall = Nftables()
        self._store = config.state_directory / "agent.sqlite"

    async def find(self) -> Found:
        """Look at what is there."""
        unreadable: list[str] = []
        changes: tuple[Change, ...] = ()
        in_use: tuple[str, ...] = ()
        as_number, table = 0, False
        try:
            observed = (await self._bgpd(as_number).observe()).config
        except FrrUnavailable as error:
            unreadable += [str(error)] if self._config.bgp else []
        else:
            changes, as_number = plan(Desired(), observed).changes, observed.as_number or 0
            going = {change.prefix_list for change in changes if isinstance(change, RemoveList)}
            in_use = tuple(name for name in observed.prefix_lists if owns_list(name) and name not in going)
        try:
            table = await self._firewall.show() is not None
        except FirewallError as error:
            unreadable += [str(error)] if self._config.redirect else []
        return Found(changes, as_number, in_use, table, self._stored(), tuple(unreadable))

    async def remove(self, found: Found) -> list[str]:
        """Remove it; return what went wrong. FRR first: while the redirect rule stands it harms nobody."""
        trouble = []
        try:
            trouble += await self._clear_frr(found)
        except FrrUnavailable as error:
            trouble.append(str(error))
        try:
            if found.table:
                await self._firewall.remove()
        except FirewallError as error:
            trouble.append(str(error))
        try:
            if found.store:
                Store(self._store).delete()
        except OSError as error:
            trouble.append(str(error))
        return trouble

    def _bgpd(self, as_number: int) -> FrrBgpd:
        return FrrBgpd(self._terminals.reader, self._terminals.writer, as_number)

    async def _clear_frr(self, found: Found) -> list[str]:
        bgpd = self._bgpd(found.as_number)
        try:
            await bgpd.apply(found.changes)
        except FrrRefused:
            pass
        else:
            return []
        # One by one, so that what FRR refuses keeps nothing else. A neighbor whose filter alone goes can announce
        # nothing.
        trouble = []
        for change in plan(Desired(), (await bgpd.observe()).config).changes:
            try:
                await bgpd.apply((change,))
            except FrrRefused as refusal:
                trouble.append(f"{describe(change)}: FRR refuses: {refusal}")
        return trouble

    def _stored(self) -> str:
        if not self._forget:
            return ""
        store = Store(self._store)
        try:
            if not self._store.exists():
                return ""
            store.open_to_read()
            return f"{len(list(PeerTable(store).load()))} stored peers in {self._store}"
        except (OSError, StoreUnreadable) as error:
            return f"stored peers that cannot be read: {error}"
        finally:
            store.close()


def run(file: Path, as_json: bool, *, yes: bool, forget: bool) -> int:
    """Remove what the agent owns, after asking; return the exit status. Raises ``ConfigError``."""
    logs.set_up_for_command()
    config = load_contradictory(file)
    reset = Reset(config, forget=forget)
    if _is_running(config):
        return EXIT_LEFT
    found = asyncio.run(reset.find())
    if not as_json:
        say_lines(_text(found))
    agreed = yes or (not as_json and found.anything and _ask())
    if agreed and _is_running(config):
        return EXIT_LEFT
    trouble = asyncio.run(reset.remove(found)) if agreed and found.anything else []
    left = asyncio.run(reset.find()) if agreed else found
    if as_json:
        say(json.dumps({"found": _json(found), "left": _json(left), "trouble": trouble}, indent=2))
    elif agreed:
        say_lines(_outcome(found, left, trouble, forget))
    elif found.anything:
        say("Nothing was removed.")
    if left.unreadable:
        return EXIT_UNREADABLE
    return EXIT_LEFT if left.anything or trouble else EXIT_GONE


def _is_running(config: Config) -> bool:
    if not answered(config.control_socket):
        return False
    complain(
        f"dmvpn-agent: an agent answers on {config.control_socket}, and would put everything back; stop it first"
    )
    return True


def _ask() -> bool:
    print("Remove all this? BGP sessions end, and with them the routes to these peers. [y/N] ", end="",
          file=sys.stderr, flush=True)  # fmt: skip
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _text(found: Found) -> Iterator[str]:
    if not found.anything:
        yield "Nothing of the agent's is here to be removed."
    if found.changes:
        yield "IN FRR, to be removed by way of vtysh:"
        yield from (f"  {line}" for line in annotate(found.changes, found.as_number))
    if found.table:
        yield "IN NFTABLES:"
        yield f"  table {TABLE}"
    if found.store:
        yield "IN THE STATE DIRECTORY:"
        yield f"  {found.store}"
    if found.in_use:
        yield "STAYS, because a neighbor that is not the agent's is filtered by it:"
        yield from (f"  prefix-list {name}" for name in found.in_use)
    if found.unreadable:
        yield "NOT LOOKED AT:"
        yield from (f"  {why}" for why in found.unreadable)


def _outcome(found: Found, left: Found, trouble: list[str], forget: bool) -> Iterator[str]:
    if trouble:
        yield "WENT WRONG:"
        yield from (f"  {why}" for why in trouble)
    if left.anything or left.unreadable:
        yield "STILL THERE:"
        yield from (f"  {line}" for line in _text(left))
    elif found.anything:
        yield "All is removed."
    if found.changes:
        yield "If FRR's configuration was saved with it (`write memory`), save it again."
    if found.changes and not forget:
        yield "The stored peers are kept: an agent that starts gives them back what they had. --forget removes them."


def _json(found: Found) -> dict[str, Any]:
    return {
        "anything": found.anything,
        "changes": changes_json(found.changes),
        "vtysh": render(found.changes, found.as_number),
        "prefix_lists_in_use": list(found.in_use),
        "nftables_table": found.table,
        "store": found.store,
        "unreadable": list(found.unreadable),
    }
