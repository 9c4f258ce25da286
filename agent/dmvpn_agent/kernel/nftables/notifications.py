"""The kernel's notifications of changes in the agent's table."""

import asyncio
import errno
import socket
from collections.abc import Callable, Iterator

import structlog

from dmvpn_agent.kernel.nftables.notified_tables import concerns
from dmvpn_agent.kernel.nftables.script import TABLE
from dmvpn_agent.runtime.backoff import Backoff, Trouble

log = structlog.get_logger()

# linux/netlink.h, linux/netfilter/nfnetlink.h
NETLINK_NETFILTER = 12
SOL_NETLINK, NETLINK_ADD_MEMBERSHIP = 270, 1
NFNLGRP_NFTABLES = 7
#: More than the kernel puts into one datagram.
_LARGEST = 65536
#: Datagrams that are read without a pause.
_AT_ONCE = 100


class NftablesNotifications:
    """Calls ``changed`` after every change of the agent's table; the callee reads what changed.

    Other tables may change many times a second, as those of a container host or a firewall's bans do.
    """

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
                    first = await asyncio.get_running_loop().sock_recv(notifications, _LARGEST)
                    ours = any(concerns(TABLE, data) for data in (first, *_waiting(notifications)))
                except OSError as error:
                    if error.errno != errno.ENOBUFS:
                        raise
                    ours = True  # notifications were lost, perhaps of this table
                if ours:
                    self._changed()


def _waiting(notifications: socket.socket) -> Iterator[bytes]:
    """Yield the datagrams that are there already. Raises ``OSError``."""
    for _ in range(_AT_ONCE):
        try:
            yield notifications.recv(_LARGEST)
        except BlockingIOError:
            return
