"""The CAs and CRLs in force, from the operator's files."""

from collections.abc import Awaitable, Callable

import structlog

from dmvpn_agent.charon.watch import CharonWatch
from dmvpn_agent.components.context import Context
from dmvpn_agent.crls.distribution_points import distribution_points
from dmvpn_agent.crls.fetched_files import FetchedFiles
from dmvpn_agent.crls.fetcher import CrlFetcher
from dmvpn_agent.crls.mirror import CrlMirror
from dmvpn_agent.runtime.supervisor import Part
from dmvpn_agent.runtime.url import Url
from dmvpn_agent.x509 import metrics
from dmvpn_agent.x509.kept_trust import KeptTrust
from dmvpn_agent.x509.settings import TrustFiles
from dmvpn_agent.x509.signer_cache import SignerCache
from dmvpn_agent.x509.trust import Trust
from dmvpn_agent.x509.trust_files import TrustFilesReader
from dmvpn_agent.x509.trust_watch import TrustWatch

log = structlog.get_logger()


class TrustComponents:
    """``use_trust`` puts other CAs and CRLs in force."""

    def __init__(self, context: Context, charon: CharonWatch, use_trust: Callable[[Trust], None]) -> None:
        files = context.config.trust_files
        context.telemetry.expect(metrics)
        self._kept, self._signatures = KeptTrust(files.kept), SignerCache()
        watch = TrustWatch(self._reader(files), context.telemetry, _crl_loader(context, charon), use_trust)
        self.watch, self.fetcher, self._mirror = watch, _fetcher(context, charon, watch), _mirror(context, watch)

    def _reader(self, files: TrustFiles) -> TrustFilesReader:
        return TrustFilesReader(files, self._kept, self._signatures)

    @property
    def parts(self) -> list[Part]:
        """Return what the agent runs of these."""
        parts = [Part("trust", self.watch.run)]
        if self.fetcher:
            parts.append(Part("crl_fetcher", self.fetcher.run))
        if self._mirror:
            parts.append(Part("crl_mirror", start=self._mirror.start, stop=self._mirror.stop))
        return parts

    def reload(self, files: TrustFiles, use_trust: Callable[[Trust], None]) -> None:
        """Read other files, and then call ``use_trust`` with what is in them."""
        self.watch.reload(self._reader(files), use_trust)


def _fetcher(context: Context, charon: CharonWatch, watch: TrustWatch) -> CrlFetcher | None:
    crl, directory = context.config.crl, context.config.trust_files.fetched
    if directory is None:
        return None

    def urls() -> tuple[Url, ...]:
        named = (*watch.trust.authorities, *charon.own_certificates.known) if crl.fetches else ()
        return *crl.mirrors, *distribution_points(named)

    files = FetchedFiles(directory)
    return CrlFetcher(urls, crl.interval, files, watch.refusal, context.telemetry, context.clocks)


def _mirror(context: Context, watch: TrustWatch) -> CrlMirror | None:
    listen = context.config.crl.listen
    return CrlMirror(listen, lambda: watch.crls, context.telemetry) if listen else None


def _crl_loader(context: Context, charon: CharonWatch) -> Callable[[tuple[bytes, ...]], Awaitable[None]]:
    if not context.config.ike.loads_crls:
        return _leave_crls_to_operator
    return _would_load_crls if context.dry_run else charon.load_crls


async def _leave_crls_to_operator(_: tuple[bytes, ...]) -> None:
    pass


async def _would_load_crls(crls: tuple[bytes, ...]) -> None:
    log.info("would_load_crls", crls=len(crls))
