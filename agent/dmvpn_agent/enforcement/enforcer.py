"""Sees to it that a decision reaches those who hold an IKE_SA already.

nhrpd asks once. It learns neither that somebody it has bound is denied now, nor that somebody it did not bind would
be accepted. What the agent can do is to end the peer's IKE_SA: that takes binding and route from whoever is denied,
and makes whoever is not register again at once, where nhrpd alone would wait for a third of the holding time.
"""

from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

import structlog

from dmvpn_agent.addresses import Address
from dmvpn_agent.admission.denial_table import DenialTable
from dmvpn_agent.admission.peers import Peers
from dmvpn_agent.charon import metrics
from dmvpn_agent.charon.sa import IkeSa
from dmvpn_agent.charon.session import CharonLost, CommandFailed
from dmvpn_agent.enforcement.nat_guard import NatGuard
from dmvpn_agent.enforcement.sa_terminator import READMITTED, Sas, SaTerminator
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.policy.request import BindingRequest, is_sa_of
from dmvpn_agent.runtime.clocks import Uptime
from dmvpn_agent.runtime.telemetry import Telemetry

log = structlog.get_logger()

PASS_INTERVAL = 5.0
COALESCE = 0.05
#: A peer is called every few seconds in the first minute, then every minute, and then left to itself.
INVITE_OFTEN, INVITE_OFTEN_FOR = timedelta(seconds=5), timedelta(minutes=1)
INVITE_SELDOM, INVITE_FOR = timedelta(minutes=1), timedelta(minutes=15)

#: Denials that say nothing against the IKE_SA: of the question rather than of the peer, or of another's address.
HARMLESS = frozenset(
    {
        Reason.MALFORMED_EVENT,
        Reason.UNKNOWN_INTERFACE,
        Reason.UNEXPECTED_BINDING_TYPE,
        Reason.HOST_OUTSIDE_PREFIXES,
        Reason.CERTIFICATE_UNCONFIRMED,
        Reason.INTERNAL_ERROR,
    }
)
#: The guard sees to these.
GUARDED = frozenset({Reason.NBMA_ADDRESS_CONFLICT})


class Reconnector(Protocol):
    """Has charon set up an IKE_SA with somebody."""

    async def invite(self, interface: str, local: Address, remote: Address) -> None:
        """Ask for an IKE_SA between two NBMA addresses, for what is bound on a tunnel interface.

        Raises ``CharonLost``, ``CommandFailed``.
        """


@dataclass(slots=True)
class _Invitation:
    """A peer to be called until it comes: the kernel asks for no SA while an earlier attempt stands in it."""

    local: Address
    request: BindingRequest
    since: timedelta
    due: timedelta


class Enforcer:
    """Ends the IKE_SAs of denied peers, and has those that would be accepted now ask again.

    ``ends_denied``: whether the operator wants the former. ``dry_run``: nobody is called, it is only said.
    """

    def __init__(
        self,
        sas: Sas,
        terminator: SaTerminator,
        inviter: Reconnector,
        peers: Peers,
        denied: DenialTable,
        guard: NatGuard,
        telemetry: Telemetry,
        clock: Uptime,
        *,
        ends_denied: bool,
        dry_run: bool = False,
    ) -> None:
        self._sas = sas
        self._terminator = terminator
        self._inviter = inviter
        self._peers = peers
        self._denied = denied
        self._guard = guard
        self._telemetry = telemetry
        self._clock = clock
        self._invitations: dict[Address, _Invitation] = {}
        self._waiting: dict[tuple[Address, Address], BindingRequest] = {}
        self._dry_run = dry_run
        self._ends_denied = ends_denied

    def reload(self, *, ends_denied: bool) -> None:
        """Put a new setting in force."""
        self._ends_denied = ends_denied

    async def run(self) -> None:
        """Enforce until cancelled."""
        while True:
            await self._denied.changed.wait(within=PASS_INTERVAL, then=COALESCE)
            await self.enforce()

    async def enforce(self) -> None:
        """Make one pass: what the decisions ask of charon, given what it shows."""
        if self._ends_denied:  # first: nothing that goes wrong with others may keep who is denied
            await self._end_denied()
        await self._guard.check()
        # Each is taken in its turn: what goes wrong with one leaves the others for the next pass.
        self._waiting |= {request.pair: request for request in self._denied.take_readmitted()}
        for pair in tuple(self._waiting):
            await self._readmit(self._waiting.pop(pair))
        for invitation in tuple(self._invitations.values()):
            if not await self._invite(invitation):
                break  # each could take as long to fail, while denied peers wait for the next pass

    async def _end_denied(self) -> None:
        denials = [denial for denial in self._denied if denial.why.reason not in HARMLESS | GUARDED]
        accepted: dict[Address, list[BindingRequest]] = defaultdict(list)
        for member in self._peers.memberships() if denials else ():
            accepted[member.request.nbma_address].append(member.request)
        await self._terminator.end(
            {
                sa: denial.why.reason
                for denial in denials
                for sa in self._own(denial.request)
                if self._terminator.may_terminate(sa)
                and not any(self._is_of(sa, request) for request in accepted[denial.request.nbma_address])
            }
        )

    async def _readmit(self, request: BindingRequest) -> None:
        """Have a peer ask again. One with a tunnel brings it up again by itself; one without has to be called.

        Where that was done a moment ago it waits: a peer that is denied each time would come and go without pause.
        """
        own = self._own(request)
        if request in self._denied or self._is_accepted(request):
            return  # it has asked meanwhile
        if not all(self._terminator.may_terminate(sa, READMITTED) for sa in own):
            self._waiting[request.pair] = request
            return
        await self._terminator.end(dict.fromkeys(own, READMITTED))
        for sa in own:
            self._terminator.reset_backoff(sa)
        local = request.local_nbma_address
        if not own and local is not None and self._dry_run:
            log.info("would_invite", nbma_address=str(request.nbma_address))
        elif not own and local is not None:
            now = self._clock()
            self._invitations[request.nbma_address] = _Invitation(local, request, since=now, due=now)

    def _is_accepted(self, request: BindingRequest) -> bool:
        member = self._peers.member(request.protocol_address)
        return member is not None and member.request.pair == request.pair

    async def _invite(self, invitation: _Invitation) -> bool:
        """Call a peer if it is due; return whether charon can be reached, as far as is known."""
        remote, now = invitation.request.nbma_address, self._clock()
        called_for = now - invitation.since
        if self._own(invitation.request) or called_for > INVITE_FOR:
            del self._invitations[remote]
            return True
        if now < invitation.due:
            return True
        invitation.due = now + (INVITE_OFTEN if called_for < INVITE_OFTEN_FOR else INVITE_SELDOM)
        try:
            await self._inviter.invite(invitation.request.interface, invitation.local, remote)
        except (CharonLost, CommandFailed) as error:
            self._telemetry.increment(metrics.INVITATIONS, "failed")
            log.warning(
                "not_invited", nbma_address=str(remote), why=str(error), consequence="the agent tries again later"
            )
            return not isinstance(error, CharonLost)
        self._telemetry.increment(metrics.INVITATIONS, "sent")
        log.info("peer_invited", nbma_address=str(remote), called_for=round(called_for.total_seconds()))
        return True

    def _own(self, request: BindingRequest) -> list[IkeSa]:
        present = self._sas.sas_of(request.interface, request.nbma_address)
        return [sa for sa in present if is_sa_of(sa, request, present)]

    def _is_of(self, sa: IkeSa, request: BindingRequest) -> bool:
        return is_sa_of(sa, request, self._sas.sas_of(request.interface, request.nbma_address))
