"""Security associations as charon shows them."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from dmvpn_agent.core.model import Address

#: CHILD_SA states (strongSwan ``child_sa_state_names``) in which it is the one in use. A REKEYED one was replaced.
INSTALLED_STATES = frozenset({"INSTALLED", "UPDATING", "REKEYING"})
#: IKE_SA states (strongSwan ``ike_sa_state_names``) in which the peer is authenticated.
ESTABLISHED_STATES = frozenset({"ESTABLISHED", "REKEYING", "REKEYED"})


@dataclass(frozen=True, slots=True)
class ChildSa:
    """A CHILD_SA; ``unique_id`` is charon's own number for it."""

    unique_id: int
    name: str
    state: str

    @property
    def installed(self) -> bool:
        """Tell whether traffic can use it."""
        return self.state in INSTALLED_STATES


@dataclass(frozen=True, slots=True)
class IkeSa:
    """An IKE_SA; ``name`` is its connection's, the identities are as charon prints them.

    The two SPIs name it for good; ``unique_id`` is charon's own number, which starts anew with charon.
    """

    unique_id: int
    name: str
    state: str
    local_host: Address
    remote_host: Address
    remote_port: int
    local_id: str
    remote_id: str
    initiator_spi: str
    responder_spi: str
    children: tuple[ChildSa, ...] = ()

    @property
    def spis(self) -> str:
        """Return what names this IKE_SA."""
        return f"{self.initiator_spi}:{self.responder_spi}"

    @property
    def established(self) -> bool:
        """Tell whether the peer is authenticated."""
        return self.state in ESTABLISHED_STATES


#: An IKE_SA together with one of its CHILD_SAs.
Circuit = tuple[IkeSa, ChildSa]


def circuits(sas: Iterable[IkeSa]) -> dict[int, Circuit]:
    """Return what traffic can use now, by the CHILD_SA's unique id."""
    return {child.unique_id: (sa, child) for sa in sas for child in sa.children if child.installed}


def same_circuit(one: Circuit, other: Circuit) -> bool:
    """Tell whether two looks at a CHILD_SA show the same to nhrpd: addresses, identities, and which IKE_SA."""
    if one[0] is other[0]:  # not looked at again: so it is with all but one of a thousand
        return True
    return replace(one[0], state="", remote_port=0, children=()) == replace(
        other[0], state="", remote_port=0, children=()
    )
