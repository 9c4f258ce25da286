"""Applies a changed decision to peers that have an IKE_SA already.

nhrpd asks once for each binding. It does not learn that a bound peer is denied now, nor that a denied peer is
acceptable now. Therefore the agent ends the peer's IKE_SA: a denied peer loses its binding and its route, and an
acceptable one registers again at once, where nhrpd alone would wait for a third of the holding time.
"""

from collections import defaultdict

from dmvpn_agent.addresses import Address
from dmvpn_agent.admission.denial_table import DenialTable
from dmvpn_agent.admission.peers import Peers
from dmvpn_agent.charon.sa import IkeSa
from dmvpn_agent.enforcement.nat_guard import NatGuard
from dmvpn_agent.enforcement.reconnections import Reconnections
from dmvpn_agent.enforcement.sa_terminator import READMITTED, Sas, SaTerminator, own_sas
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.policy.request import BindingRequest, is_sa_of

PASS_INTERVAL = 5.0
COALESCE = 0.05

#: Denials that do not concern the IKE_SA: their cause is the event, or the address of another peer.
HARMLESS = frozenset(
    {
        Reason.MALFORMED_EVENT,
        Reason.UNKNOWN_INTERFACE,
        Reason.UNEXPECTED_BINDING_TYPE,
        Reason.HOST_OUTSIDE_PREFIXES,
        Reason.CERTIFICATE_UNCONFIRMED,
        Reason.CERTIFICATE_AWAITED,
        Reason.INTERNAL_ERROR,
    }
)
#: ``NatGuard`` handles these.
GUARDED = frozenset({Reason.NBMA_ADDRESS_CONFLICT})


class Enforcer:
    """Ends the IKE_SAs of denied peers if ``ends_denied``, and makes peers that are acceptable now register again."""

    def __init__(
        self,
        sas: Sas,
        terminator: SaTerminator,
        reconnections: Reconnections,
        guard: NatGuard,
        peers: Peers,
        denials: DenialTable,
        *,
        ends_denied: bool,
    ) -> None:
        self._sas = sas
        self._terminator = terminator
        self._reconnections = reconnections
        self._guard = guard
        self._peers = peers
        self._denials = denials
        self._waiting: dict[tuple[Address, Address], BindingRequest] = {}
        self._ends_denied = ends_denied

    def reload(self, *, ends_denied: bool) -> None:
        """Put a new setting in force."""
        self._ends_denied = ends_denied

    async def run(self) -> None:
        """Enforce until cancelled."""
        while True:
            await self._denials.changed.wait(within=PASS_INTERVAL, then=COALESCE)
            await self.enforce()

    async def enforce(self) -> None:
        """Make one pass: apply the decisions to the present IKE_SAs."""
        if self._ends_denied:  # first, so that no failure below keeps a denied peer
            await self._end_denied()
        await self._guard.check()
        # One by one: after a failure with one peer the others wait for the next pass.
        self._waiting |= {request.pair: request for request in self._denials.take_readmitted()}
        for pair in tuple(self._waiting):
            await self._readmit(self._waiting.pop(pair))
        await self._reconnections.connect()

    async def _end_denied(self) -> None:
        denials = [denial for denial in self._denials if denial.why.reason not in HARMLESS | GUARDED]
        accepted: dict[Address, list[BindingRequest]] = defaultdict(list)
        for member in self._peers.memberships() if denials else ():
            accepted[member.request.nbma_address].append(member.request)
        await self._terminator.end(
            {
                sa: denial.why.reason
                for denial in denials
                for sa in own_sas(self._sas, denial.request)
                if self._terminator.may_terminate(sa)
                and not any(self._is_of(sa, request) for request in accepted[denial.request.nbma_address])
            }
        )

    async def _readmit(self, request: BindingRequest) -> None:
        """Make a peer register again. A peer whose IKE_SA ends connects by itself; charon connects to another one.

        After a recent attempt the peer waits: one that is denied each time would reconnect without a pause.
        """
        own = own_sas(self._sas, request)
        if request in self._denials or self._is_accepted(request):
            return  # nhrpd has asked about it meanwhile
        if not all(self._terminator.may_terminate(sa, READMITTED) for sa in own):
            self._waiting[request.pair] = request
            return
        await self._terminator.end(dict.fromkeys(own, READMITTED))
        for sa in own:
            self._terminator.reset_backoff(sa)
        if not own:
            self._reconnections.add(request)

    def _is_accepted(self, request: BindingRequest) -> bool:
        member = self._peers.member(request.protocol_address)
        return member is not None and member.request.pair == request.pair

    def _is_of(self, sa: IkeSa, request: BindingRequest) -> bool:
        return is_sa_of(sa, request, self._sas.sas_of(request.interface, request.nbma_address))
