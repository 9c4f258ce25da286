"""The settings in ``[peers]``."""

from dataclasses import dataclass

from dmvpn_agent.addresses import Address


@dataclass(frozen=True, slots=True)
class ExpectedPeer:
    """A peer that should be there (``[[peers.expected]]``).

    ``name``: its label. ``identity``: a shell pattern of its certificate's subject (RFC 4514) or IKE identity;
    ``protocol_address``: one of its addresses. With neither, the label of the certificate must be the name.
    """

    name: str
    identity: str = ""
    protocol_address: Address | None = None


@dataclass(frozen=True, slots=True)
class PeersSettings:
    """Which peers are shown also while they are absent; ``learn``: each that was ever accepted, until ``forget``."""

    expected: tuple[ExpectedPeer, ...] = ()
    learn: bool = True
