"""Decides again on every accepted and denied peer when the policy, CAs, CRLs, time or charon's IKE_SAs change."""

from datetime import timedelta

from dmvpn_agent.admission.decider import ADMISSION, Decider
from dmvpn_agent.admission.outcomes import Outcomes
from dmvpn_agent.policy.rules import Policy
from dmvpn_agent.runtime.clocks import Clocks
from dmvpn_agent.runtime.debounced_event import DebouncedEvent
from dmvpn_agent.runtime.slices import in_slices
from dmvpn_agent.runtime.supervisor import Failures
from dmvpn_agent.x509.trust import Trust

#: Seconds between two passes if nothing but time changes.
REJUDGE_INTERVAL = 10.0
#: Seconds from a change of charon's IKE_SAs to a pass: the bridge finds their certificates meanwhile.
REJUDGE_AFTER_SAS = 0.7
#: How long after a change each pass judges every peer: what follows from it with time, as a certificate that the
#: bridge finds late or the end of ``peer_index.GRACE``, follows within it.
SETTLING = timedelta(seconds=90)
#: How long accepted peers of whom nothing is known to have changed are not judged. A thousand take 50 ms, and every
#: change that a decision depends on is reported.
JUDGE_ALL_INTERVAL = timedelta(minutes=5)


class Reauthorizer:
    """Loads the stored peers, and keeps every decision in step with what it depends on."""

    def __init__(self, decider: Decider, outcomes: Outcomes, failures: Failures, clocks: Clocks) -> None:
        self._decider = decider
        self._outcomes = outcomes
        self._failures = failures
        self._clocks = clocks
        self._due = DebouncedEvent()
        self._sas_changed = True
        self._judged_by: object = None
        self._settled_at = self._all_due = timedelta()

    def start(self, trust: Trust) -> None:
        """Load the peers that were accepted before the restart; each is judged again."""
        self._decider.use_trust(trust)
        with self._failures.contained("store"):
            self._outcomes.load(self._decider)

    def use_policy(self, policy: Policy) -> None:
        """Put another policy in force and judge all peers by it at once."""
        self._decider.use_policy(policy)
        self._due.set(urgent=True)

    def use_trust(self, trust: Trust) -> None:
        """Put other CAs and CRLs in force and judge all peers by them at once.

        The first ones load the stored peers.
        """
        if self._decider.waits_for_trust:
            self.start(trust)
            self._outcomes.loaded()
            return
        self._decider.use_trust(trust)
        self._due.set(urgent=True)

    def sas_changed(self) -> None:
        """Note that charon's IKE_SAs changed: another peer may be at an NBMA address, or another certificate."""
        self._sas_changed = True
        self._due.set()

    async def run(self) -> None:
        """Judge all peers again at intervals and after changes, until cancelled."""
        while True:
            await self._due.wait(within=REJUDGE_INTERVAL, then=REJUDGE_AFTER_SAS)
            await self.rejudge(only_due=not self._must_judge_all())

    def _must_judge_all(self) -> bool:
        """Tell whether more than the clock may have changed what decisions depend on."""
        now, basis = self._clocks.uptime(), (self._decider.basis, self._outcomes.peers.version)
        if self._sas_changed or basis != self._judged_by:
            self._sas_changed, self._judged_by = False, basis
            self._settled_at = now + SETTLING
        if now < self._settled_at or now >= self._all_due:
            self._all_due = now + JUDGE_ALL_INTERVAL
            return True
        return False

    async def rejudge(self, *, only_due: bool = False) -> None:
        """Judge every accepted and every denied peer again; between two of them nhrpd is answered.

        Each is judged by what is in force at its turn. A change during the pass asks for another one. ``only_due``:
        pass over the accepted peers whom the clock alone cannot deny yet.
        """
        await self._decider.refresh_certificates()
        now = self._clocks.now()
        async for member in in_slices(self._outcomes.peers.memberships()):
            if only_due and member.accepted_until is not None and now <= member.accepted_until:
                continue
            with self._failures.contained(ADMISSION):
                self._outcomes.rejudge_accepted(member, self._decider)
        async for denial in in_slices(self._outcomes.denials):
            with self._failures.contained(ADMISSION):
                self._outcomes.rejudge_denied(denial, self._decider)
