"""Decides again on every accepted and denied peer when the policy, CAs, CRLs, time or charon's IKE_SAs change."""

from dmvpn_agent.admission.decider import ADMISSION, Decider
from dmvpn_agent.admission.outcomes import Outcomes
from dmvpn_agent.policy.rules import Policy
from dmvpn_agent.runtime.debounced_event import DebouncedEvent
from dmvpn_agent.runtime.slices import in_slices
from dmvpn_agent.runtime.supervisor import Failures
from dmvpn_agent.x509.trust import Trust

#: Seconds between two passes if nothing but time changes.
REJUDGE_INTERVAL = 10.0
#: Seconds from a change of charon's IKE_SAs to a pass: the bridge finds their certificates meanwhile.
REJUDGE_AFTER_SAS = 0.7


class Reauthorizer:
    """Loads the stored peers, and keeps every decision in step with what it depends on."""

    def __init__(self, decider: Decider, outcomes: Outcomes, failures: Failures) -> None:
        self._decider = decider
        self._outcomes = outcomes
        self._failures = failures
        self._due = DebouncedEvent()

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
        self._due.set()

    async def run(self) -> None:
        """Judge all peers again at intervals and after changes, until cancelled."""
        while True:
            await self._due.wait(within=REJUDGE_INTERVAL, then=REJUDGE_AFTER_SAS)
            await self.rejudge()

    async def rejudge(self) -> None:
        """Judge every accepted and every denied peer again; between two of them nhrpd is answered.

        Each is judged by what is in force at its turn. A change during the pass asks for another one.
        """
        await self._decider.refresh_certificates()
        async for member in in_slices(self._outcomes.peers.memberships()):
            with self._failures.contained(ADMISSION):
                self._outcomes.rejudge_accepted(member, self._decider)
        async for denial in in_slices(self._outcomes.denials):
            with self._failures.contained(ADMISSION):
                self._outcomes.rejudge_denied(denial, self._decider)
