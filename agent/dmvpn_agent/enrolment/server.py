"""The CA's server: composed here, started, kept up, and stopped."""

import asyncio
from collections import ChainMap
from threading import Lock

import structlog
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from dmvpn_agent import __version__
from dmvpn_agent.ca.authorities import Signer, read_authorities, unlock
from dmvpn_agent.ca.bundle import chain_pem
from dmvpn_agent.ca.database import Database
from dmvpn_agent.ca.errors import CaError
from dmvpn_agent.ca.service_keys import Service, ServiceKey, is_current, service_key
from dmvpn_agent.enrolment import metrics
from dmvpn_agent.enrolment.desk import Desk
from dmvpn_agent.enrolment.documents import Documents
from dmvpn_agent.enrolment.est import Est
from dmvpn_agent.enrolment.limits import Limits
from dmvpn_agent.enrolment.registrar import Registrar
from dmvpn_agent.enrolment.scep import Scep
from dmvpn_agent.enrolment.scep_message import ScepKey
from dmvpn_agent.enrolment.settings import ServeSettings
from dmvpn_agent.enrolment.tls import ServerTls
from dmvpn_agent.enrolment.upkeep import INTERVAL, Upkeep
from dmvpn_agent.runtime import metrics as common
from dmvpn_agent.runtime.backoff import Trouble
from dmvpn_agent.runtime.clocks import Clocks, in_seconds
from dmvpn_agent.runtime.exposition import Exposition
from dmvpn_agent.runtime.http_access import AccessGuard, HttpAccess
from dmvpn_agent.runtime.http_server import HttpServer
from dmvpn_agent.runtime.http_site import Site
from dmvpn_agent.runtime.metrics import Metric
from dmvpn_agent.runtime.process_metrics import observe_process
from dmvpn_agent.runtime.readiness import Readiness
from dmvpn_agent.runtime.telemetry import Telemetry

log = structlog.get_logger()

#: Octets of a request; one for a certificate with an RSA key of 8192 bits has 6000.
MAX_BODY = 65536
#: Seconds for a request: the registry may be locked by another operator for half of them.
TIMEOUT = 60.0


class _SharedTelemetry(Telemetry):
    """Counted by the threads of both ports."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = Lock()

    def increment(self, metric: Metric, *labels: str, by: float = 1) -> None:
        """Add to a counter."""
        with self._lock:
            super().increment(metric, *labels, by=by)


class EnrolmentServer:
    """EST over TLS; CRLs and CA certificates with and without."""

    def __init__(self, database: Database, passphrase: bytes, settings: ServeSettings, clocks: Clocks) -> None:
        self.telemetry = _SharedTelemetry()
        self._database = database
        self._passphrase = passphrase
        self._settings = settings
        self._clocks = clocks
        self._tls: ServerTls
        self._documents = Documents()
        self._trouble = Trouble()
        self._started: list[HttpServer | Exposition] = []
        self._own: ServiceKey | None = None
        self._signer: Signer
        self._upkeep: Upkeep

    def start(self) -> None:
        """Read the keys, and listen. Raises ``CaError``, or ``OSError``, which says what to do."""
        with self._database.reading() as connection:
            kept = [one for one in read_authorities(connection) if one.key is not None or one.issues_to_nodes]
        signers = [unlock(one, self._passphrase, self._clocks.now()) for one in kept]
        signer = signers[-1]
        self._signer = signer
        certificate, key = self._settings.certificate, self._settings.key
        files = (certificate, key) if certificate is not None and key is not None else None
        self._tls, self._own = ServerTls(signer.authority.certificate, files), None
        of_crls = [one for one in signers if one.authority.signs_crls]
        self._upkeep = Upkeep(self._database, of_crls, self._documents)
        self.refresh()
        limits = Limits(self._settings.per_minute, in_seconds(self._clocks.uptime))
        registrar = Registrar(self._database, signer, limits, self._clocks.now)
        desk = Desk(registrar, limits, self.telemetry)
        self._listen(Est(desk, signer.authority.chain), self._scep(desk) if self._settings.scep else None)

    async def run(self, again: asyncio.Event) -> None:
        """Keep the server up until cancelled; ``again`` asks for it at once."""
        while True:
            try:
                async with asyncio.timeout(INTERVAL.total_seconds()):
                    await again.wait()
            except TimeoutError:
                pass
            again.clear()
            try:
                await asyncio.to_thread(self.refresh)
                await asyncio.to_thread(self._upkeep.publish)
            except Exception as error:
                self.telemetry.increment(metrics.UPKEEP_FAILURES)
                if self._trouble.is_new(str(error)):
                    log.error("upkeep_failed", why=str(error), consequence="tried again; what is served stays",
                              exc_info=None if isinstance(error, CaError) else error)  # fmt: skip
            else:
                self._trouble.over()

    def stop(self) -> None:
        """Close the ports; a certificate that is being issued is issued."""
        while self._started:
            self._started.pop().stop()

    def refresh(self) -> None:
        """Bring everything up to what the registry and the clock say. Raises ``CaError``."""
        now = self._clocks.now()
        self._upkeep.refresh(now)
        settings = self._settings
        if self._tls.use_files():
            return
        if self._own is None or not is_current(self._own.certificate, settings.names, now):
            with self._database.writing() as connection:
                own = service_key(connection, self._signer, self._passphrase, Service.TLS, settings.names, now)
            self._tls.use(own, chain_pem(self._signer.authority.chain[:-1]))
            self._own = own

    def _scep(self, desk: Desk) -> Scep:
        now = self._clocks.now()
        with self._database.writing() as connection:
            own = service_key(connection, self._signer, self._passphrase, Service.SCEP, self._settings.names, now)
        if not isinstance(own.key, RSAPrivateKey):
            raise CaError("the key of SCEP in the registry is not RSA")
        return Scep(desk, ScepKey(own.key, own.certificate), self._signer.authority.chain)

    def _listen(self, est: Est, scep: Scep | None) -> None:
        settings, telemetry = self._settings, self.telemetry
        telemetry.expect(metrics, common)
        observe_process(telemetry)
        telemetry.observe(common.BUILD_INFO, lambda: {(__version__, "ca"): 1})
        telemetry.observe(metrics.CRL_NEXT_UPDATE, lambda: {
            (name,): at.timestamp() for name, at in list(self._upkeep.next_updates.items())
        })  # fmt: skip
        pages, posts = (scep.pages, scep.posts) if scep is not None else ({}, {})
        common_pages = ChainMap(self._documents.pages, pages)
        secure = Site(common_pages.new_child(est.pages), {**est.posts, **posts}, MAX_BODY, name="https",
                      counted=metrics.CA_REQUESTS)  # fmt: skip
        servers: list[HttpServer | Exposition] = [
            HttpServer(settings.https, self._tls, secure, telemetry, timeout=TIMEOUT)
        ]
        if settings.http is not None:
            plain = Site(common_pages, posts, MAX_BODY, name="http", counted=metrics.CA_REQUESTS)
            servers.append(HttpServer(settings.http, AccessGuard(HttpAccess()), plain, telemetry, timeout=TIMEOUT))
        if settings.metrics is not None:
            servers.append(Exposition(settings.metrics, HttpAccess(), telemetry, Readiness(), "ca"))
        for server in servers:
            server.start()
            self._started.append(server)
