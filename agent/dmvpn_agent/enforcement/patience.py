"""Which IKE_SAs to end for a registration that is missing, and when: without I/O.

nhrpd registers when the circuit to a hub comes. If it has to register and does not know, ending the IKE_SA makes it.
Several rules notice that (``hub_state``, ``orphan_sas``), and the peer's agent has the same rules: each new IKE_SA
takes time until it has led to a registration, and a rule that ends it meanwhile makes the peer start again. Therefore
all of them state what is missing, and this is the only place that decides:

- A peer's IKE_SA ends once the registration has been missing for the patience of the rule, counted from its newest
  IKE_SA.
- A peer whose IKE_SA was ended has at least ``RETURN_TIME`` from its next IKE_SA, and twice as long each time. So two
  nodes that end each other's IKE_SAs come to rest once each waits for longer than the other one needs.
- The peer counts as new once nothing has been missing for ``RETURN_TIME``.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from dmvpn_agent.addresses import Address
from dmvpn_agent.charon.sa import IkeSa

#: What a peer needs for a new IKE_SA and a registration, on a busy machine.
RETURN_TIME = timedelta(seconds=10)
#: The longest patience, for a peer that never registers.
LONGEST_PATIENCE = timedelta(minutes=10)
#: How many peers' IKE_SAs are ended in one check: each peer reconnects at once, and has to authenticate.
AT_ONCE = 10

#: Local and remote NBMA address, and IKE identity: they stay the same when the IKE_SA is rekeyed.
PeerKey = tuple[Address, Address, str]


@dataclass(frozen=True, slots=True)
class Lack:
    """A registration that is missing, between this node and the peer of these IKE_SAs; they end together.

    ``since``: when it was missing first, with the newest of them. ``known_at``: when that was last read.
    """

    sas: tuple[IkeSa, ...]
    cause: str
    since: timedelta
    patience: timedelta
    known_at: timedelta = timedelta.max

    @property
    def peer(self) -> PeerKey:
        """Return whose registration it is."""
        return peer_key(self.sas[0])


def peer_key(sa: IkeSa) -> PeerKey:
    """Return what identifies the peer of an IKE_SA."""
    return sa.local_host, sa.remote_host, sa.remote_id


@dataclass(slots=True)
class _Ended:
    """When a peer's IKE_SAs were last ended, how often so far, and since when nothing is missing."""

    at: timedelta
    times: int = 1
    complete_since: timedelta | None = None


class Patience:
    """Decides on the lacks of each check. Times are those of ``clocks.uptime``."""

    def __init__(self) -> None:
        self._ended: dict[PeerKey, _Ended] = {}

    def due(self, now: timedelta, lacks: Iterable[Lack], present: Iterable[IkeSa]) -> tuple[list[Lack], bool]:
        """Return the lacks whose IKE_SAs are to be ended now, and whether others wait for a newer reading.

        ``present``: all IKE_SAs. A peer without one has nothing missing, but nothing complete either.
        """
        lacks = tuple(lacks)
        self._forget_complete(now, {lack.peer for lack in lacks}, present)
        over = [lack for lack in lacks if now >= self._waits_until(lack)]
        due = [lack for lack in over if lack.known_at >= self._waits_until(lack)]
        peers = dict.fromkeys(lack.peer for lack in due)
        chosen = set(tuple(peers)[:AT_ONCE])
        for peer in chosen:
            before = self._ended.get(peer)
            self._ended[peer] = _Ended(now, before.times + 1 if before else 1)
        return [lack for lack in due if lack.peer in chosen], len(due) < len(over)

    def _waits_until(self, lack: Lack) -> timedelta:
        ended = self._ended.get(lack.peer)
        if ended is None:
            return lack.since + lack.patience
        patience = max(lack.patience, RETURN_TIME) * (1 << min(ended.times - 1, 16))
        return max(lack.since, ended.at) + min(patience, LONGEST_PATIENCE)

    def _forget_complete(self, now: timedelta, lacking: set[PeerKey], present: Iterable[IkeSa]) -> None:
        if not self._ended:
            return  # the usual case
        here = {peer_key(sa) for sa in present}
        for peer, ended in tuple(self._ended.items()):
            if peer in lacking or (peer not in here and now - ended.at < LONGEST_PATIENCE):
                ended.complete_since = None
            elif ended.complete_since is None:
                ended.complete_since = now
            elif now - ended.complete_since >= RETURN_TIME:
                del self._ended[peer]
