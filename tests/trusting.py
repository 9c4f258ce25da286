"""Files with CA certificates and CRLs, and a watch over them, for the tests of trust."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.x509.settings import TrustFiles
from dmvpn_agent.x509.trust import Trust
from dmvpn_agent.x509.trust_files import TrustFilesReader
from dmvpn_agent.x509.trust_watch import TrustWatch
from factories import authority_pem

DAY = timedelta(days=1)
DATA = Path(__file__).parent / "data"


def ca_and_crls(folder: Path) -> TrustFiles:
    """Return a directory with a CA certificate, and an empty one for CRLs."""
    (folder / "ca").mkdir()
    (folder / "crl").mkdir()
    (folder / "ca" / "lab.pem").write_bytes(authority_pem())
    return TrustFiles((folder / "ca",), (folder / "crl",))


def serials(trust: Trust) -> set[int]:
    """Return what the CRLs in force revoke."""
    return {serial for one in trust.crls for serial in one.serials}


class Watch:
    """A watch over the files, and its calls."""

    def __init__(self, files: TrustFiles, telemetry: Telemetry) -> None:
        self.received: list[Any] = []
        self.watch = TrustWatch(TrustFilesReader(files), telemetry, self._load, self.received.append)
        self.watch.start()

    async def _load(self, crls: tuple[bytes, ...]) -> None:
        self.received.append(len(crls))
