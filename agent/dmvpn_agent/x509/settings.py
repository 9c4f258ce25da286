"""Where the operator's CA certificates and CRLs are."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class TrustFiles:
    """The files and directories with CA certificates and with CRLs.

    ``kept``: the directory in which the agent keeps what it read of them. ``charon_crl_limit``: the octets of the
    longest CRL that charon can be given; ``None`` if the agent gives charon no CRLs. ``fetched``: the directory of
    fetched CRLs, which need not exist; ``None`` if none are fetched.
    """

    authorities: tuple[Path, ...]
    crls: tuple[Path, ...]
    kept: Path | None = None
    charon_crl_limit: int | None = None
    fetched: Path | None = None
