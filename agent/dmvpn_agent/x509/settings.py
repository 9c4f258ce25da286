"""Where the operator's CA certificates and CRLs are."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class TrustFiles:
    """The files and directories with the certificates of the CAs, and with their CRLs.

    ``kept``: the directory in which what was read of them is kept. ``charon_takes``: the octets of the
    longest CRL that charon can be given; ``None`` where it is given none.
    """

    authorities: tuple[Path, ...]
    crls: tuple[Path, ...]
    kept: Path | None = None
    charon_takes: int | None = None
