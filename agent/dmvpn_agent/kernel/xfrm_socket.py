"""Lists and deletes the kernel's IPsec SAs and policies. pyroute2 has no such messages (0.9)."""

import errno
import os
import socket

from dmvpn_agent.kernel.xfrm import (
    NETLINK_XFRM,
    Answer,
    KernelPolicy,
    KernelSa,
    XfrmError,
    delete_policy_request,
    delete_request,
    list_policies_request,
    list_request,
)

#: The kernel answers at once, from memory. A list of 1,000 peers' SAs has about 1 MB.
TIMEOUT = 5.0
_DATAGRAM = 1 << 18


class XfrmSocket:
    """The SAs and policies of this network namespace, with a new socket for each request."""

    def list(self) -> tuple[KernelSa, ...]:
        """Return all SAs. Raises ``XfrmError``."""
        return tuple(self._ask(list_request(1), "list").sas)

    def delete(self, sa: KernelSa) -> None:
        """Delete an SA; it may be gone already. Raises ``XfrmError``."""
        self._ask(delete_request(sa, 1), "delete", harmless=errno.ESRCH)

    def list_policies(self) -> tuple[KernelPolicy, ...]:
        """Return the policies between two hosts. Raises ``XfrmError``."""
        return tuple(self._ask(list_policies_request(1), "list").policies)

    def delete_policy(self, policy: KernelPolicy) -> None:
        """Delete a policy; it may be gone already. Raises ``XfrmError``."""
        self._ask(delete_policy_request(policy, 1), "delete", harmless=errno.ENOENT)

    def _ask(self, request: bytes, what: str, harmless: int = 0) -> Answer:
        answer = Answer(1)
        try:
            kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
            with socket.socket(socket.AF_NETLINK, kind, NETLINK_XFRM) as netlink:
                netlink.settimeout(TIMEOUT)
                netlink.bind((0, 0))
                netlink.send(request)
                while not answer.complete:
                    answer.feed(netlink.recv(_DATAGRAM))
        except OSError as error:
            raise XfrmError(
                f"cannot {what} the kernel's IPsec SAs and policies: {error.strerror or error}"
            ) from error
        if answer.error not in {0, harmless}:
            hint = "; give the agent CAP_NET_ADMIN" if answer.error == errno.EPERM else ""
            raise XfrmError(f"cannot {what} the kernel's IPsec SAs and policies: {os.strerror(answer.error)}{hint}")
        return answer
