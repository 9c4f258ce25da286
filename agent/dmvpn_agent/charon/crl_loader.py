"""Loads the operator's CRLs into charon, so that charon refuses revoked peers itself."""

import hashlib

import structlog

from dmvpn_agent.charon import metrics
from dmvpn_agent.charon.commands import flush_crls, load_crl
from dmvpn_agent.charon.session import CharonLost, CharonSession, CommandFailed
from dmvpn_agent.charon.vici import MAX_VALUE
from dmvpn_agent.runtime.backoff import Troubles
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.x509.crl import crl_issuer

log = structlog.get_logger()


class CrlLoader:
    """Loads ``crls`` (DER); again in each session, because charon forgets them when it restarts."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._too_long = Troubles[bytes]()
        self.crls: tuple[bytes, ...] = ()

    async def load(self, session: CharonSession) -> None:
        """Load the CRLs, and empty charon's cache of verified CRLs. What fails is logged and counted."""
        crls = [crl for crl in self.crls if len(crl) <= MAX_VALUE]
        self._skip([crl for crl in self.crls if len(crl) > MAX_VALUE])
        if not crls:
            return
        outcome = "loaded"
        try:
            for crl in crls:
                await load_crl(session, crl)
            await flush_crls(session)
        except CommandFailed as error:
            outcome = "refused"
            log.warning("crl_refused_by_charon", why=str(error),
                        consequence="the agent denies revoked peers, charon may accept them")  # fmt: skip
        except CharonLost as error:
            outcome = "lost"
            log.warning("crl_not_loaded", why=str(error), consequence="loaded after the next connect")
        self._telemetry.increment(metrics.CRLS_LOADED, outcome, by=len(crls))

    def _skip(self, crls: list[bytes]) -> None:
        """Count the CRLs that do not fit into VICI, and log each once (``TrustRead.problems`` says what to do)."""
        digests = {hashlib.sha256(crl).digest(): crl for crl in crls}
        for crl in map(digests.__getitem__, self._too_long.new(digests)):
            log.error("crl_too_long_for_charon", issuer=crl_issuer(crl), bytes=len(crl), limit=MAX_VALUE,
                      consequence="the agent denies the revoked peers and ends their IKE_SAs; charon lets them"
                      " authenticate")  # fmt: skip
        if crls:
            self._telemetry.increment(metrics.CRLS_LOADED, "too_long", by=len(crls))
