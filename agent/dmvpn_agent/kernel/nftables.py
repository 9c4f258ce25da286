"""nftables by way of nft, and the kernel's word that the rule set changed."""

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
    """Our own table, and nothing else. Whoever writes to it shares one of these: it knows what must stay dropped."""

    def __init__(self) -> None:
        self._blocked: dict[UdpEndpoint, float] = {}
        self._writing = asyncio.Lock()

    async def show(self) -> ShownTable | None:
        """Return our table, ``None`` where there is none. Raises ``FirewallError``."""
        # Terse: without the up to 65535 pairs that the set holds.
        done = await self._nft("-j", "-t", "list", "table", *TABLE.split())
        if done.status != 0:
            if "No such file or directory" in done.stderr:
                return None
            raise FirewallError(f"nft cannot list table {TABLE}: {_words(done)}")
        try:
            return parse_table(done.stdout)
        except NftFormatError as error:
            raise FirewallError(str(error)) from error

    async def install(self, rule: RedirectRule) -> None:
        """Write our table in place of what is there; what is blocked stays so. Raises ``FirewallError``."""
        async with self._writing:
            done = await self._nft("-f", "-", stdin=render(rule, self._still_blocked()))
        if done.status != 0:
            raise FirewallError(f"nft refuses the redirect rule: {_words(done)}")

    def _still_blocked(self) -> dict[UdpEndpoint, int]:
        now = time.monotonic()
        self._blocked = {end: until for end, until in self._blocked.items() if now < until}
        return {end: math.ceil(until - now) for end, until in self._blocked.items()}

    async def remove(self) -> None:
        """Delete our table; it need not be there. Raises ``FirewallError``."""
        done = await self._nft("delete", "table", *TABLE.split())
        if done.status != 0 and "No such file or directory" not in done.stderr:
            raise FirewallError(f"nft cannot delete table {TABLE}: {_words(done)}")

    async def block(self, end: UdpEndpoint, span: timedelta) -> None:
        """Drop what comes from an address and UDP port. Raises ``FirewallError``."""
        async with self._writing:
            done = await self._nft("-f", "-", stdin=render_block(end, int(span.total_seconds())))
            if done.status == 0:
                self._blocked[end] = time.monotonic() + span.total_seconds()
        if done.status != 0:
            raise FirewallError(f"nft does not drop what comes from {end[0]} port {end[1]}: {_words(done)}")

    async def unblock(self, end: UdpEndpoint) -> None:
        """Drop it no longer; it need not be dropped. Raises ``FirewallError``."""
        async with self._writing:
            self._blocked.pop(end, None)
            done = await self._nft("-f", "-", stdin=render_unblock(end))
        if done.status != 0 and "No such file or directory" not in done.stderr:
            raise FirewallError(f"nft still drops what comes from {end[0]} port {end[1]}: {_words(done)}")

    async def _nft(self, *words: str, stdin: str = "") -> Completed:
        try:
            return await run(("nft", *words), stdin=stdin, timeout=TIMEOUT, max_output=MAX_OUTPUT)
        except ProgramError as error:
            raise FirewallError(str(error)) from error


def _words(done: Completed) -> str:
    return " ".join(done.stderr.split())[:300] or f"status {done.status}"


class NftablesNotifications:
    """Calls back when anybody changes any rule set; what changed is for the listener to look at."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._backoff = Backoff(1, 60)
        self._trouble = Trouble()

    async def run(self) -> None:
        """Listen until cancelled; a socket that cannot be had, or breaks, is opened again."""
        while True:
            self._backoff.begin()
            try:
                await self._listen()
            except OSError as error:
                wait = self._backoff.failed()
                if self._trouble.is_new(error):
                    log.warning("nftables_unwatched", why=self._trouble.text,
                                consequence="a flushed rule is noticed at the next check only",
                                do="give the agent CAP_NET_ADMIN, and the kernel nf_tables")  # fmt: skip
                await asyncio.sleep(wait)

    async def _listen(self) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        with socket.socket(socket.AF_NETLINK, kind, NETLINK_NETFILTER) as notifications:
            notifications.bind((0, 0))
            notifications.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, NFNLGRP_NFTABLES)
            self._trouble.over()
            self._changed()  # what changed before is not notified
            while True:
                try:
                    await asyncio.get_running_loop().sock_recv(notifications, 65536)
                    with suppress(BlockingIOError):
                        while notifications.recv(65536):
                            pass
                except OSError as error:
                    if error.errno != errno.ENOBUFS:  # notifications were lost; the look that follows sees all
                        raise
                self._changed()
