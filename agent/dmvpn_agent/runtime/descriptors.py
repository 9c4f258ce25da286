"""The file descriptors of a process."""

import contextlib
import os
import resource
import sys

#: More than the process needs. Not more: some programs that the agent starts iterate over all that are allowed.
ENOUGH = 65536


def open_standard_ones() -> None:
    """Open /dev/null as standard input, output and error if they are closed.

    Otherwise the next file or socket gets the number, and the log is written into the state file or to nhrpd. Call it
    before anything else is opened.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
            os.set_inheritable(descriptor, True)
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115  for the life of the process


def allow_many() -> None:
    """Raise the soft limit of open files to the hard limit, up to ``ENOUGH``."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
