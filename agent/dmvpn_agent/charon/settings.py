"""The operator's ``[ike]``."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Ike:
    """charon's VICI socket, and what the agent may do there.

    ``ends_denied``: the agent deletes the IKE_SA of a denied peer. ``loads_crls``: the agent loads the CRLs into
    charon, so that charon refuses revoked peers itself.
    """

    vici_socket: Path
    ends_denied: bool
    loads_crls: bool
