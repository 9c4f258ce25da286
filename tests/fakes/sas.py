"""charon's IKE_SAs and the kernel's SAs without a socket, for the services that act on them."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from dmvpn_agent.addresses import Address
from dmvpn_agent.charon.ike_peer import IkePeer
from dmvpn_agent.charon.sa import ChildSa, IkeSa
from dmvpn_agent.charon.session import CharonLost
from dmvpn_agent.kernel.xfrm import KernelPolicy, KernelSa, XfrmError
from dmvpn_agent.x509.certificate import Certificate
from factories import NBMA


class FakeSas:
    """Implements ``Sas``, ``SaSource`` and ``Reconnector``.

    ``away``: charon does not answer; ``connecting``: it was not reached yet. ``stubborn``: an ended IKE_SA stays.
    ``reported``: addresses that charon reported events about since the last refresh.
    ``settled``: the bridge has said of each IKE_SA which certificate it has; ``overdue``: it has not for long.
    ``loaded``: charon has the connection. ``answers``: peers answer a rekeying. ``ended``,
    ``rekeyed`` and ``initiated`` are the requests. SAs that ``arrive`` are known
    after the next refresh.
    """

    def __init__(self) -> None:
        self.away = False
        self.connecting = False
        self.stubborn = False
        self.loaded = True
        self.sessions = 1
        self.patched = False
        self.answers = False
        self.ended: list[int] = []
        self.rekeyed: list[int] = []
        self.initiated: list[tuple[Address, Address]] = []
        self.looks = 0
        self.settled = True
        self.overdue = False
        self.reported: set[Address] = set()
        #: By the IKE_SA's unique id.
        self.certificates: dict[int, Certificate] = {}
        self._at_look: dict[int, Callable[[], object]] = {}
        self._there: list[IkeSa] = []
        self._seen: tuple[IkeSa, ...] = ()
        self._psk: set[str] = set()
        self._unproven: set[str] = set()
        self.tunnels = {"gre1": "dmvpn"}

    def arrive(
        self,
        number: int,
        identity: str,
        address: Address = NBMA,
        *,
        psk: bool = False,
        unproven: bool = False,
        name: str = "dmvpn",
        child: str = "INSTALLED",
        port: int = 500,
        **fields: Any,
    ) -> IkeSa:
        spi = f"{number:x}"
        sa = IkeSa(number, name, "ESTABLISHED", NBMA - 1, address, port, "CN=hub", identity,
                   spi, "0", (ChildSa(number, "dmvpn", child, spi_in=spi),), **fields)  # fmt: skip
        self._there.append(sa)
        if psk:
            self._psk.add(identity)
        if unproven:
            self._unproven.add(identity)
        return sa

    def awaits(self, sa: IkeSa) -> bool:
        known = sa.unique_id in self.certificates or sa.remote_id in self._psk | self._unproven
        return not (self.settled or known)

    def certificates_complete(self, interface: str, address: Address) -> bool:
        return (
            self.settled or self.overdue or len(self.certificates_at(interface, address)) == len(self.sas_at(address))
        )

    def find_no_certificate(self, identity: str) -> None:
        """Have the bridge store that it found none for the IKE_SAs of a peer."""
        self._unproven.add(identity)
        self.settled = True

    def at_look(self, number: int, happens: Callable[[], object]) -> None:
        """Call ``happens`` at the refresh with this number."""
        self._at_look[number] = happens

    def has_news(self, address: Address) -> bool:
        return address in self.reported

    def leave(self, number: int) -> None:
        self._there = [sa for sa in self._there if sa.unique_id != number]

    def show(self) -> None:
        """Make all SAs known, as a refresh does."""
        self._seen = tuple(self._there)

    @property
    def connected(self) -> bool:
        return not (self.away or self.connecting)

    def has_connection(self, _: str) -> bool:
        return self.loaded

    @property
    def ike_sas(self) -> tuple[IkeSa, ...]:
        return self._seen

    def our_sas(self) -> Iterator[IkeSa]:
        yield from self._seen

    def sas_at(self, address: Address) -> tuple[IkeSa, ...]:
        return tuple(sa for sa in self._seen if sa.remote_host == address)

    def sas_of(self, interface: str, address: Address) -> tuple[IkeSa, ...]:
        return tuple(sa for sa in self.sas_at(address) if sa.name == self.tunnels.get(interface))

    def peers_at(self, interface: str, address: Address) -> frozenset[IkePeer] | None:
        if self.away or self.connecting:
            return None
        return frozenset(
            IkePeer(
                sa.remote_id,
                sa.remote_id not in self._psk,
                unproven=sa.remote_id in self._unproven,
                certificate=self.certificates[sa.unique_id].identity if sa.unique_id in self.certificates else "",
                awaited=self.awaits(sa),
            )
            for sa in self.sas_of(interface, address)
        )

    def certificates_at(self, interface: str, address: Address) -> tuple[Certificate, ...]:
        present = self.sas_of(interface, address)
        return tuple(self.certificates[sa.unique_id] for sa in present if sa.unique_id in self.certificates)

    def certificate_of(self, sa: IkeSa) -> Certificate | None:
        return self.certificates.get(sa.unique_id)

    async def refresh_certificates(self) -> None:
        """Do nothing: certificates are known at once."""

    async def refresh(self) -> None:
        self.looks += 1
        self._at_look.get(self.looks, lambda: None)()
        if self.away:
            raise CharonLost("charon is away")
        self.reported.clear()
        self.show()

    async def end(self, sa: IkeSa) -> None:
        if self.away:
            raise CharonLost("charon is away")
        self.ended.append(sa.unique_id)
        if not self.stubborn:
            self.leave(sa.unique_id)

    async def rekey_children(self, sa: IkeSa) -> None:
        if self.away:
            raise CharonLost("charon is away")
        self.rekeyed.append(sa.unique_id)
        if self.answers:
            children = tuple(replace(child, spi_in=f"{child.spi_in}0") for child in sa.children)
            self._there = [replace(one, children=children) if one == sa else one for one in self._there]
            self.show()

    async def initiate(self, _: str, local: Address, remote: Address) -> None:
        if self.away:
            raise CharonLost("charon is away")
        self.initiated.append((local, remote))


class FakeKernelSas:
    """The kernel's SAs without a kernel; ``broken``: it refuses every request."""

    def __init__(self) -> None:
        self.present: list[KernelSa] = []
        self.policies: list[KernelPolicy] = []
        self.broken = False

    def list(self) -> tuple[KernelSa, ...]:
        if self.broken:
            raise XfrmError("cannot list the kernel's IPsec SAs: Operation not permitted")
        return tuple(self.present)

    def delete(self, sa: KernelSa) -> None:
        if self.broken:
            raise XfrmError("cannot delete the kernel's IPsec SAs: Operation not permitted")
        self.present.remove(sa)

    def list_policies(self) -> tuple[KernelPolicy, ...]:
        return tuple(self.policies)

    def delete_policy(self, policy: KernelPolicy) -> None:
        self.policies.remove(policy)
