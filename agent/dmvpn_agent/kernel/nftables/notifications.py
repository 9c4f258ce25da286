"""The kernel's notifications of changed rule sets."""

import asyncio
import errno
import socket
from collections.abc import Callable
from contextlib import suppress

import structlog

from dmvpn_agent.runtime.backoff import Backoff, Trouble

log = structlog.get_logger()

# linux/netlink.h, linux/netfilter/nfnetlink.h
NETLINK_NETFILTER = 12
SOL_NETLINK, NETLINK_ADD_MEMBERSHIP = 270, 1
NFNLGRP_NFTABLES = 7


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
