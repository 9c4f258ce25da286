"""Notifies the service manager when the process is ready: sd_notify(3), without systemd's library."""

import os
import socket

import structlog

log = structlog.get_logger()


def notify_ready() -> None:
    """Send ``READY=1`` to the socket that ``NOTIFY_SOCKET`` names; without one, do nothing.

    It is a path, or a name in the abstract namespace, which begins with ``@``. A failure is logged; the process
    continues.
    """
    name = os.environ.get("NOTIFY_SOCKET", "")
    if not name:
        return
    address = "\0" + name[1:] if name.startswith("@") else name
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as notifier:
            notifier.sendto(b"READY=1", address)
    except OSError as error:
        log.warning("ready_not_notified", why=str(error), socket=name)
