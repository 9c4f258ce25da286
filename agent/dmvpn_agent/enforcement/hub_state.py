"""What to do about the IKE_SA with a hub that this node registers with: a state machine without I/O.

nhrpd asks for an IKE_SA once, and again after a quarter of the holding time (120 s up to FRR 9); charon does not
repeat what failed. If the hub does not answer, nhrpd doubles the time until its next registration, to 64 s. nhrpd
registers at once when the circuit to the hub comes, or goes and comes back. Therefore:

- If a hub has no IKE_SA, the agent asks for one, until there is one.
- If there is an IKE_SA and nhrpd is not registered, the agent ends it: nhrpd asks for a new one.
- If a hub sets up a second IKE_SA and keeps the first one beside it, it has lost the first one, and with it the
  binding: its charon was killed. The agent ends both. The first one ends by itself only when dead peer detection
  notices.
- If this node's address of an IKE_SA is gone, the agent ends it. Otherwise charon replaces it at some moment, and a
  hub's nhrpd forgets the binding that is just being made from the new address.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from dmvpn_agent.addresses import Address
from dmvpn_agent.charon.sa import IkeSa

#: How long a hub has no IKE_SA before the agent asks: nhrpd asks at once.
PATIENCE = timedelta(seconds=1)
#: Time between two requests: at first, then doubled, and at most.
FIRST_INTERVAL, LONGEST_INTERVAL = timedelta(seconds=2), timedelta(seconds=30)
#: How long nhrpd may take to register: it sends a registration after 0, 2, 6 and 14 s. A busy hub answers late, and
#: an end in the middle of it costs both of them their bindings.
REGISTRATION_TIME = timedelta(seconds=20)
#: A reauthentication deletes the first IKE_SA sooner after it has made the second one.
REAUTHENTICATION_TIME = timedelta(seconds=1)
#: IKE_SAs that both nodes start at the same moment are not further apart.
STARTED_TOGETHER = timedelta(seconds=10)

#: How long a hub is out of reach before the agent resolves its name again, and how often it does so.
NAME_PATIENCE = timedelta(seconds=10)
NAME_INTERVAL = timedelta(seconds=30)

#: Causes for which an IKE_SA with a hub is ended.
HUB_RESTARTED, UNREGISTERED, ADDRESS_GONE = "hub_restarted", "unregistered", "address_gone"


@dataclass(frozen=True, slots=True)
class Hub:
    """A hub in nhrpd's configuration; ``registered``: it has answered this node's registrations.

    ``name``: its NBMA address as configured, which may be a DNS name.
    """

    interface: str
    nbma_address: Address
    registered: bool = True
    name: str = ""


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask for an IKE_SA."""


@dataclass(frozen=True, slots=True)
class End:
    """End these IKE_SAs, for a cause."""

    sas: tuple[IkeSa, ...]
    cause: str


Action = Ask | End


class HubState:
    """What was seen of one hub."""

    def __init__(self) -> None:
        self._interval = FIRST_INTERVAL
        self._next_request: timedelta | None = None
        self._without_sa: timedelta | None = None
        self._name_checked: timedelta | None = None
        self._unregistered: timedelta | None = None
        self._second: tuple[str, timedelta] | None = None

    @property
    def settled(self) -> bool:
        """Tell whether the hub has no problem."""
        return self._without_sa is None and self._unregistered is None and self._second is None

    def hurry(self) -> None:
        """Ask at once at the next step, because links or addresses have changed."""
        self._interval, self._next_request = FIRST_INTERVAL, None

    def name_due(self, now: timedelta) -> bool:
        """Tell, once in ``NAME_INTERVAL``, whether to look at the hub's name."""
        if self._without_sa is None or now - self._without_sa < NAME_PATIENCE:
            return False
        if self._name_checked is not None and now - self._name_checked < NAME_INTERVAL:
            return False
        self._name_checked = now
        return True

    def step(self, now: timedelta, local: Address, sas: Iterable[IkeSa], *, registered: bool) -> Action | None:
        """Return what to do now. ``local``: the tunnel's NBMA address. ``sas``: those with the hub."""
        sas = tuple(sas)
        usable = [sa for sa in sas if sa.local_host == local and any(child.installed for child in sa.children)]
        if not usable:
            return self._step_without(now)
        self._without_sa = None
        self.hurry()
        return self._step_second(now, sas) or self._step_unregistered(now, sas, registered=registered)

    def _step_without(self, now: timedelta) -> Action | None:
        self._unregistered = self._second = None
        if self._without_sa is None:
            self._without_sa = now
        if now - self._without_sa < PATIENCE or (self._next_request is not None and now < self._next_request):
            return None
        self._next_request = now + self._interval
        self._interval = min(self._interval * 2, LONGEST_INTERVAL)
        return Ask()

    def _step_second(self, now: timedelta, sas: tuple[IkeSa, ...]) -> Action | None:
        newest = _begun_by_peer_beside_another(sas)
        if newest is None:
            self._second = None
            return None
        if self._second is None or self._second[0] != newest.spis:
            self._second = newest.spis, now
        if now - self._second[1] < REAUTHENTICATION_TIME:
            return None
        self._second = newest.spis, now  # again after the same time, if charon keeps them
        return End(sas, HUB_RESTARTED)

    def _step_unregistered(self, now: timedelta, sas: tuple[IkeSa, ...], *, registered: bool) -> Action | None:
        if registered:
            self._unregistered = None
            return None
        if self._unregistered is None:
            self._unregistered = now
        if now - self._unregistered < REGISTRATION_TIME:
            return None
        self._unregistered = now
        return End(sas, UNREGISTERED)


def _begun_by_peer_beside_another(sas: Iterable[IkeSa]) -> IkeSa | None:
    """Return the newest IKE_SA if the peer began it although it had an older one."""
    ordered = sorted(((sa.established_at, sa) for sa in sas if sa.established_at), key=lambda one: one[0])
    if len(ordered) < 2:
        return None
    (since, first), (until, newest) = ordered[0], ordered[-1]
    if newest.initiator or newest.remote_id != first.remote_id or until - since < STARTED_TOGETHER:
        return None
    return newest
