"""A node whose daemons are the services of an OpenRC system (Alpine): its own init starts them in its runlevel."""

from collections.abc import Sequence

from dmvpn_lab.namespace import Namespace

#: The node's services; OpenRC finds their order.
_SERVICES = ("frr", "dmvpn-agent", "dmvpn-bridge", "charon")
#: What the machine's own runlevels start is not the node's.
_RUNLEVELS = "rm -f /etc/runlevels/*/*; for service; do rc-update add $service default; done"
#: A PID namespace: init is process 1 of it.
_BOOT = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "/sbin/init")


def runlevel(space: Namespace) -> None:
    """Put the services into the node's default runlevel. Raises ``CommandError``."""
    space.run("sh", "-euc", _RUNLEVELS, "sh", *_SERVICES)


def boot() -> Sequence[str]:
    """Return the command that boots the node; it stays as long as the node is up."""
    return _BOOT
