"""Where the protocols' requests for certificates arrive: limited, counted, and answered in another thread."""

import asyncio

import structlog
from cryptography import x509

from dmvpn_agent.enrolment import metrics
from dmvpn_agent.enrolment.limits import Limits
from dmvpn_agent.enrolment.outcome import Refusal, Refused
from dmvpn_agent.enrolment.registrar import Asked, Registrar
from dmvpn_agent.runtime.telemetry import Telemetry

log = structlog.get_logger()


class Desk:
    """Answers requests for certificates."""

    def __init__(self, registrar: Registrar, limits: Limits, telemetry: Telemetry) -> None:
        self._registrar = registrar
        self._limits = limits
        self._telemetry = telemetry

    async def answer(self, asked: Asked) -> x509.Certificate:
        """Return the certificate that a client asks for. Raises ``Refused``."""
        try:
            if not self._limits.admits_source(asked.source):
                log.warning("enrolment_refused", protocol=asked.protocol, source=asked.source, reason=Refusal.RATE)
                raise Refused(Refusal.RATE, "too many requests from this address")
            certificate, outcome = await asyncio.to_thread(self._registrar.answer, asked)
        except Refused as error:
            self._telemetry.increment(metrics.ENROLMENTS, asked.protocol, error.why)
            raise
        self._telemetry.increment(metrics.ENROLMENTS, asked.protocol, outcome)
        return certificate
