"""The operator's ``[ike]``."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Ike:
    """charon: its socket, and what the agent may do there.

    ``ends_denied``: the IKE_SA of a peer that is denied is ended. ``loads_crls``: charon is given the CRLs too, so
    that it refuses revoked peers itself.
    """

    vici_socket: Path
    ends_denied: bool
    loads_crls: bool
