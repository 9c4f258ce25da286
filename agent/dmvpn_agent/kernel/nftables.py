"""nftables by the nft program, and the kernel's notifications of changed rule sets."""

import asyncio
import errno
import math
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

import structlog

from dmvpn_agent.kernel.nft import (
    TABLE,
    NftFormatError,
    ShownTable,
    UdpEndpoint,
    parse_table,
    render,
    render_block,
    render_unblock,
)
from dmvpn_agent.kernel.redirect import FirewallError
from dmvpn_agent.kernel.redirect_rule import RedirectRule
from dmvpn_agent.runtime.backoff import Backoff, Trouble
from dmvpn_agent.runtime.program import Completed, ProgramError, run

log = structlog.get_logger()

TIMEOUT = 10.0
MAX_OUTPUT = 16 << 20

# linux/netlink.h, linux/netfilter/nfnetlink.h
NETLINK_NETFILTER = 12
SOL_NETLINK, NETLINK_ADD_MEMBERSHIP = 270, 1
NFNLGRP_NFTABLES = 7


class Nftables:
    """The agent's table. All writers share one instance, because it keeps track of the blocked endpoints."""

    def __init__(self) -> None:
        self._blocked: dict[UdpEndpoint, float] = {}
        self._writing = asyncio.Lock()

    async def show(self) -> ShownTable | None:
        """Return the agent's table, ``None`` if there is none. Raises ``FirewallError``."""
        # -t (terse): without the up to 65535 elements of a set.
        done = await self._nft("-j", "-t", "list", "table", *TABLE.split())
        if done.status != 0:
            if "No such file or directory" in done.stderr:
                return None
            raise FirewallError(f"nft cannot list table {TABLE}: {_message(done)}")
        try:
            return parse_table(done.stdout)
        except NftFormatError as error:
            raise FirewallError(str(error)) from error

    async def install(self, rule: RedirectRule) -> None:
        """Replace the agent's table; blocked endpoints stay blocked. Raises ``FirewallError``."""
        async with self._writing:
            done = await self._nft("-f", "-", stdin=render(rule, self._still_blocked()))
        if done.status != 0:
            raise FirewallError(f"nft refuses the redirect rule: {_message(done)}")

    def _still_blocked(self) -> dict[UdpEndpoint, int]:
        now = time.monotonic()
        self._blocked = {endpoint: until for endpoint, until in self._blocked.items() if now < until}
        return {endpoint: math.ceil(until - now) for endpoint, until in self._blocked.items()}

    async def remove(self) -> None:
        """Delete the agent's table if it exists. Raises ``FirewallError``."""
        done = await self._nft("delete", "table", *TABLE.split())
        if done.status != 0 and "No such file or directory" not in done.stderr:
            raise FirewallError(f"nft cannot delete table {TABLE}: {_message(done)}")

    async def block(self, endpoint: UdpEndpoint, span: timedelta) -> None:
        """Drop packets from an endpoint. Raises ``FirewallError``."""
        async with self._writing:
            done = await self._nft("-f", "-", stdin=render_block(endpoint, int(span.total_seconds())))
            if done.status == 0:
                self._blocked[endpoint] = time.monotonic() + span.total_seconds()
        if done.status != 0:
            raise FirewallError(f"nft cannot block packets from {endpoint[0]} port {endpoint[1]}: {_message(done)}")

    async def unblock(self, endpoint: UdpEndpoint) -> None:
        """Stop dropping packets from an endpoint, if they are dropped. Raises ``FirewallError``."""
        async with self._writing:
            self._blocked.pop(endpoint, None)
            done = await self._nft("-f", "-", stdin=render_unblock(endpoint))
        if done.status != 0 and "No such file or directory" not in done.stderr:
            raise FirewallError(f"nft cannot unblock packets from {endpoint[0]} port {endpoint[1]}: {_message(done)}")

    async def _nft(self, *words: str, stdin: str = "") -> Completed:
        try:
            return await run(("nft", *words), stdin=stdin, timeout=TIMEOUT, max_output=MAX_OUTPUT)
        except ProgramError as error:
            raise FirewallError(str(error)) from error


def _message(done: Completed) -> str:
    return " ".join(done.stderr.split())[:300] or f"status {done.status}"


class NftablesNotifications:
    """Calls ``changed`` after every change of any rule set; the callee reads what changed."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._backoff = Backoff(1, 60)
        self._trouble = Trouble()

    async def run(self) -> None:
        """Listen until cancelled; if the socket cannot be opened, or breaks, open it again."""
        while True:
            self._backoff.begin()
            try:
                await self._listen()
            except OSError as error:
                wait = self._backoff.failed()
                if self._trouble.is_new(error):
                    log.warning("nftables_unwatched", why=self._trouble.text,
                                consequence="a flushed rule is noticed only at the next check",
                                do="give the agent CAP_NET_ADMIN, and the kernel nf_tables")  # fmt: skip
                await asyncio.sleep(wait)

    async def _listen(self) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        with socket.socket(socket.AF_NETLINK, kind, NETLINK_NETFILTER) as notifications:
            notifications.bind((0, 0))
            notifications.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, NFNLGRP_NFTABLES)
            self._trouble.over()
            self._changed()  # earlier changes were not notified
            while True:
                try:
                    await asyncio.get_running_loop().sock_recv(notifications, 65536)
                    with suppress(BlockingIOError):
                        while notifications.recv(65536):
                            pass
                except OSError as error:
                    if error.errno != errno.ENOBUFS:  # ENOBUFS: notifications were lost; the call below covers them
                        raise
                self._changed()
