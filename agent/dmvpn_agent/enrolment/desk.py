"""Where the protocols' requests for certificates arrive: limited, counted, and answered in another thread."""

import asyncio
from collections.abc import Callable

import structlog
from cryptography import x509

from dmvpn_agent.enrolment import metrics
from dmvpn_agent.enrolment.limits import Limits
from dmvpn_agent.enrolment.outcome import Refusal, Refused
from dmvpn_agent.enrolment.registrar import Asked, Origin, Registrar
from dmvpn_agent.runtime.telemetry import Telemetry

log = structlog.get_logger()


class Desk:
    """Answers requests for certificates."""

    def __init__(self, registrar: Registrar, limits: Limits, telemetry: Telemetry) -> None:
        self._registrar = registrar
        self._limits = limits
        self._telemetry = telemetry

    def admit(self, origin: Origin) -> None:
        """Count a request, before anything is done for it. Raises ``Refused`` if the address has sent too many."""
        if self._limits.admits_source(origin.source):
            return
        log.warning("enrolment_refused", protocol=origin.protocol, source=origin.source, reason=Refusal.RATE)
        self._telemetry.increment(metrics.ENROLMENTS, origin.protocol, Refusal.RATE)
        raise Refused(Refusal.RATE, "too many requests from this address")

    async def answer(self, origin: Origin, read: Callable[[], Asked]) -> x509.Certificate:
        """Return the certificate that a client asks for; ``read`` as of ``Registrar.answer``. Raises ``Refused``."""
        try:
            certificate, outcome = await asyncio.to_thread(self._registrar.answer, origin, read)
        except Refused as error:
            self._telemetry.increment(metrics.ENROLMENTS, origin.protocol, error.why)
            raise
        self._telemetry.increment(metrics.ENROLMENTS, origin.protocol, outcome)
        return certificate
