"""What to do about the IKE_SA with a hub that this node registers with: a state machine without I/O.

nhrpd asks for an IKE_SA once, and again after a quarter of the holding time (120 s up to FRR 9); charon does not
repeat what failed. If the hub does not answer, nhrpd doubles the time until its next registration, to 64 s. nhrpd
registers at once when the circuit to the hub comes, or goes and comes back. Therefore:

- If a hub has no IKE_SA, the agent asks for one, until there is one.
- If there is an IKE_SA and nhrpd is not registered, a registration is missing.
- If a hub begins another IKE_SA and does not delete the first one, it may have lost that, and with it the binding:
  its charon was killed. nhrpd does not register, because it takes the first one for a circuit until dead peer
  detection ends it. To find out, the agent has charon rekey the CHILD_SA of the first one: only a hub that still has
  it answers.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from dmvpn_agent.addresses import Address
from dmvpn_agent.charon.sa import IkeSa
from dmvpn_agent.enforcement.patience import Lack

#: How long a hub has no IKE_SA before the agent asks: nhrpd asks at once.
PATIENCE = timedelta(seconds=1)
#: Time between two requests: at first, then doubled, and at most.
FIRST_INTERVAL, LONGEST_INTERVAL = timedelta(seconds=2), timedelta(seconds=30)
#: How long nhrpd may take to register: it sends a registration after 0, 2, 6 and 14 s. A busy hub answers late, and
#: an end in the middle of it costs both of them their bindings.
REGISTRATION_TIME = timedelta(seconds=20)
#: How long a hub may take to answer a rekeying, and to delete the first IKE_SA after a reauthentication.
ANSWER_TIME = timedelta(seconds=1)
#: IKE_SAs that both nodes start at the same moment are not further apart.
STARTED_TOGETHER = timedelta(seconds=10)

#: How long a hub is out of reach before the agent resolves its name again, and how often it does so.
NAME_PATIENCE = timedelta(seconds=10)
NAME_INTERVAL = timedelta(seconds=30)

#: Causes for which an IKE_SA with a hub is ended.
HUB_RESTARTED, UNREGISTERED, ADDRESS_GONE = "hub_restarted", "unregistered", "address_gone"


@dataclass(frozen=True, slots=True)
class Hub:
    """A hub in nhrpd's configuration.

    ``registered``: it has answered this node's registrations, or has registered with this node.

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
class Probe:
    """Have charon rekey the CHILD_SAs of this IKE_SA."""

    sa: IkeSa


Action = Ask | Probe | Lack


@dataclass(slots=True)
class _Doubt:
    """Whether the hub has lost an IKE_SA beside which it began another one.

    ``probed``: when the hub was asked, and ``spis``: of the CHILD_SAs that it had then. A new one is the answer.
    """

    probed: timedelta
    spis: frozenset[str]
    answered: bool = False

    def is_lost(self, now: timedelta, sa: IkeSa) -> bool:
        self.answered |= not _child_spis(sa) <= self.spis
        return not self.answered and now - self.probed >= ANSWER_TIME


class HubState:
    """What was seen of one hub."""

    def __init__(self) -> None:
        self._interval = FIRST_INTERVAL
        self._next_request: timedelta | None = None
        self._without_sa: timedelta | None = None
        self._name_checked: timedelta | None = None
        # Since when nhrpd is not registered, with the IKE_SAs that there are.
        self._unregistered: tuple[frozenset[str], timedelta] | None = None
        # By the SPIs of an IKE_SA, and of the one that the hub began beside it.
        self._doubts: dict[tuple[str, str], _Doubt] = {}

    @property
    def settled(self) -> bool:
        """Tell whether the hub has no problem."""
        missing = self._without_sa is not None or self._unregistered is not None
        return not missing and all(doubt.answered for doubt in self._doubts.values())

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

    def step(self, now: timedelta, local: Address, sas: Iterable[IkeSa], *, registered: bool) -> list[Action]:
        """Return what to do now. ``local``: the tunnel's NBMA address. ``sas``: those with the hub."""
        usable = tuple(sa for sa in sas if sa.local_host == local and any(child.installed for child in sa.children))
        if not usable:
            return self._step_without(now)
        self._without_sa = None
        self.hurry()
        return [*self._step_doubts(now, usable), *self._step_unregistered(now, usable, registered=registered)]

    def _step_without(self, now: timedelta) -> list[Action]:
        self._unregistered = None
        self._doubts.clear()
        if self._without_sa is None:
            self._without_sa = now
        if now - self._without_sa < PATIENCE or (self._next_request is not None and now < self._next_request):
            return []
        self._next_request = now + self._interval
        self._interval = min(self._interval * 2, LONGEST_INTERVAL)
        return [Ask()]

    def _step_doubts(self, now: timedelta, sas: tuple[IkeSa, ...]) -> list[Action]:
        by_spis = {sa.spis: sa for sa in sas}
        found = {(sa.spis, other.spis) for sa in sas for other in sas if _is_begun_by_peer_beside(other, sa)}
        new = {spis: by_spis[spis] for spis, other in found if (spis, other) not in self._doubts}
        self._doubts = {pair: doubt for pair, doubt in self._doubts.items() if pair[0] in by_spis}
        self._doubts |= {pair: _Doubt(now, _child_spis(new[pair[0]])) for pair in found if pair[0] in new}
        lost = [doubt.probed for pair, doubt in self._doubts.items() if doubt.is_lost(now, by_spis[pair[0]])]
        lacks = [Lack(sas, HUB_RESTARTED, max(lost) + ANSWER_TIME, timedelta(0))] if lost else []
        return [*map(Probe, new.values()), *lacks]

    def _step_unregistered(self, now: timedelta, sas: tuple[IkeSa, ...], *, registered: bool) -> list[Action]:
        spis = frozenset(sa.spis for sa in sas)
        if registered:
            self._unregistered = None
            return []
        # An IKE_SA that went does not start it again, one that came does.
        if self._unregistered is None or not spis <= self._unregistered[0]:
            self._unregistered = spis, now
        return [Lack(sas, UNREGISTERED, self._unregistered[1], REGISTRATION_TIME)]


def _child_spis(sa: IkeSa) -> frozenset[str]:
    return frozenset(child.spis for child in sa.children if child.installed)


def _is_begun_by_peer_beside(other: IkeSa, sa: IkeSa) -> bool:
    """Tell whether the peer began the other IKE_SA although it had this one."""
    return (
        sa.established_at is not None
        and other.established_at is not None
        and other.established_at - sa.established_at >= STARTED_TOGETHER
        and other.remote_id == sa.remote_id
        and not other.initiator
    )
