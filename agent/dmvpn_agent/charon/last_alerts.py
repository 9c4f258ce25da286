"""charon's last alert about each NBMA address: why a peer has no IKE_SA or no CHILD_SA."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from dmvpn_agent.addresses import Address
from dmvpn_agent.charon.events import Alert

#: The peer, or this node, failed to authenticate; charon raises these with the IKE_SA that it gives up.
AUTHENTICATION = frozenset({
    "authorization-failed", "cert-exceeded-path-len", "cert-expired", "cert-no-issuer", "cert-policy-violation",
    "cert-revoked", "cert-untrusted-root", "cert-validation-failed", "local-auth-failed", "peer-auth-failed",
})  # fmt: skip
#: The IKE_SA could not be set up for another reason.
_OTHERS = frozenset({
    "half-open-timeout", "peer-init-unreachable", "proposal-mismatch-ike", "retransmit-send-timeout",
})  # fmt: skip
#: The IKE_SA is there, and its CHILD_SA could not be set up.
CHILD = frozenset({
    "install-child-policy-failed", "install-child-sa-failed", "proposal-mismatch-child", "ts-mismatch",
})  # fmt: skip
#: The kinds that are kept.
KEPT = AUTHENTICATION | _OTHERS | CHILD
#: Addresses that are remembered; beyond that the oldest are forgotten, because any host can fail to authenticate.
REMEMBERED = 2000


@dataclass(frozen=True, slots=True)
class LastAlert:
    """An alert: ``kind`` as charon names it, the identity that the peer claimed, and when it was received."""

    kind: str
    remote_id: str
    at: datetime

    @property
    def is_authentication(self) -> bool:
        """Tell whether authentication failed."""
        return self.kind in AUTHENTICATION

    @property
    def is_of_child(self) -> bool:
        """Tell whether the IKE_SA was set up, and its CHILD_SA was not."""
        return self.kind in CHILD


class LastAlerts:
    """The last alert about each NBMA address, until what failed was set up; ``version`` grows with each."""

    def __init__(self) -> None:
        self.version = 0
        self._alerts: dict[Address, LastAlert] = {}

    def add(self, alert: Alert, now: datetime) -> None:
        """Note an alert about a peer.

        One certificate raises several: the first of them names the cause, ``peer-auth-failed`` follows from it.
        """
        sa = alert.ike_sa
        if sa is None or alert.kind not in KEPT:
            return
        before = self._alerts.get(sa.remote_host)
        follows = before is not None and alert.kind == "peer-auth-failed" and before.kind.startswith("cert-")
        kind = before.kind if before is not None and follows else alert.kind
        self.note(sa.remote_host, LastAlert(kind, sa.remote_id, now))

    def note(self, address: Address, alert: LastAlert) -> None:
        """Note what failed at an NBMA address."""
        self._alerts.pop(address, None)
        self.version += 1
        self._alerts[address] = alert
        if len(self._alerts) > REMEMBERED:
            del self._alerts[next(iter(self._alerts))]

    def ike_established(self, address: Address) -> None:
        """Forget why there was no IKE_SA. What is known of its CHILD_SA may have come just before this."""
        if (alert := self._alerts.get(address)) and not alert.is_of_child:
            del self._alerts[address]

    def child_installed(self, address: Address) -> None:
        """Forget what was reported about an address."""
        self._alerts.pop(address, None)

    def by_address(self) -> Mapping[Address, LastAlert]:
        """Return the alerts by NBMA address."""
        return dict(self._alerts)
