"""What ``dmvpn-agent ca serve`` is told."""

from dataclasses import dataclass
from pathlib import Path

from dmvpn_agent.runtime.endpoint import Endpoint


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """How the CA's server is reached.

    ``https``: for EST. ``http``: for CRLs, CA certificates and SCEP; ``None`` for no such port. ``names``: the
    addresses and DNS names in the server's certificate, which the CA issues; or ``certificate`` and ``key``, files in
    PEM. ``scep``: whether SCEP is served, with a certificate of the same names. ``per_minute``: requests for
    certificates from one address. ``metrics``: where metrics are served, if at all.
    """

    https: Endpoint
    http: Endpoint | None = None
    names: tuple[str, ...] = ()
    certificate: Path | None = None
    key: Path | None = None
    scep: bool = False
    per_minute: int = 30
    metrics: Endpoint | None = None
