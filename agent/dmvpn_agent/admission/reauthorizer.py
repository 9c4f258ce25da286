"""Decides again on every accepted and denied peer when the policy, CAs, CRLs, time or charon's IKE_SAs change."""

from collections.abc import Callable

import structlog

from dmvpn_agent.admission import metrics
from dmvpn_agent.admission.decider import ADMISSION, Decider
from dmvpn_agent.admission.denial import Denial
from dmvpn_agent.admission.denial_table import DenialTable
from dmvpn_agent.admission.peer_index import Membership
from dmvpn_agent.admission.peers import Peers, Revoked
from dmvpn_agent.policy.decision import Accept
from dmvpn_agent.policy.rules import Policy
from dmvpn_agent.runtime.clocks import Clocks
from dmvpn_agent.runtime.debounced_event import DebouncedEvent
from dmvpn_agent.runtime.slices import in_slices
from dmvpn_agent.runtime.supervisor import Failures
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.x509.trust import Trust

log = structlog.get_logger()

#: Seconds between two passes if nothing but time changes.
REJUDGE_INTERVAL = 10.0
#: Seconds from a change of charon's IKE_SAs to a pass: the bridge finds their certificates meanwhile.
REJUDGE_AFTER_SAS = 0.7


class Reauthorizer:
    """Loads the stored peers, and keeps every decision in step with what it depends on.

    ``changed`` is called when the accepted peers, or what they may do, have changed; ``revoked`` for each peer that
    was accepted and is denied now.
    """

    def __init__(
        self,
        decider: Decider,
        peers: Peers,
        denials: DenialTable,
        telemetry: Telemetry,
        clocks: Clocks,
        failures: Failures,
        changed: Callable[[], None],
        revoked: Callable[[Revoked], None] = lambda _: None,
    ) -> None:
        self._decider = decider
        self._peers = peers
        self._denials = denials
        self._telemetry = telemetry
        self._clocks = clocks
        self._failures = failures
        self._changed = changed
        self._revoked = revoked
        self._due = DebouncedEvent()

    def start(self, trust: Trust) -> None:
        """Load the peers that were accepted before the restart; each is judged again."""
        self._decider.use_trust(trust)
        with self._failures.contained("store"):
            for gone in self._peers.load(self._decider.decide_stored, self._clocks.uptime()):
                self._denials.add(gone.request, gone.why, self._clocks.now())
                self._revoked(gone)

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
            self._changed()  # they may be read late, and FRR may still have neighbors of revoked peers
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
        async for member in in_slices(self._peers.memberships()):
            with self._failures.contained(ADMISSION):
                self._rejudge_accepted(member)
        async for denial in in_slices(self._denials):
            with self._failures.contained(ADMISSION):
                self._rejudge_denied(denial)

    def _rejudge_accepted(self, member: Membership) -> None:
        decider = self._decider
        outcome = self._peers.rejudge(member, decider.decide_accepted, decider.with_current_certificate)
        if isinstance(outcome, Revoked):
            request = outcome.request
            self._telemetry.increment(metrics.PEER_DEPARTURES, outcome.why.reason)
            log.warning("peer_revoked", protocol_address=str(request.protocol_address),
                        nbma_address=str(request.nbma_address), subject=outcome.subject,
                        why=str(outcome.why))  # fmt: skip
            self._denials.add(request, outcome.why, self._clocks.now())
            self._revoked(outcome)
        if outcome:
            self._changed()

    def _rejudge_denied(self, denial: Denial) -> None:
        if not self._denials.is_latest(denial):  # accepted or denied again since the pass began
            return
        request, decision = self._decider.decide_denied(denial.request)
        if isinstance(decision, Accept):
            self._denials.readmit(request)
            log.info("peer_acceptable_again", protocol_address=str(request.protocol_address),
                     nbma_address=str(request.nbma_address), was=str(denial.why))  # fmt: skip
