"""The CAs and CRLs in force, from the operator's files."""

from collections.abc import Awaitable, Callable

import structlog

from dmvpn_agent.charon.watch import CharonWatch
from dmvpn_agent.components.context import Context
from dmvpn_agent.runtime.supervisor import Part
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
        self.watch = TrustWatch(self._reader(files), context.telemetry, _crl_loader(context, charon), use_trust)

    def _reader(self, files: TrustFiles) -> TrustFilesReader:
        return TrustFilesReader(files, self._kept, self._signatures)

    @property
    def parts(self) -> list[Part]:
        """Return what the agent runs of these."""
        return [Part("trust", self.watch.run)]

    def reload(self, files: TrustFiles, use_trust: Callable[[Trust], None]) -> None:
        """Read other files, and then call ``use_trust`` with what is in them."""
        self.watch.reload(self._reader(files), use_trust)


def _crl_loader(context: Context, charon: CharonWatch) -> Callable[[tuple[bytes, ...]], Awaitable[None]]:
    if not context.config.ike.loads_crls:
        return _leave_crls_to_operator
    return _would_load_crls if context.dry_run else charon.load_crls


async def _leave_crls_to_operator(_: tuple[bytes, ...]) -> None:
    pass


async def _would_load_crls(crls: tuple[bytes, ...]) -> None:
    log.info("would_load_crls", crls=len(crls))
