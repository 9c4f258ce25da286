"""The accepted peers, as they are stored."""

from collections.abc import Iterator, Sequence
from ipaddress import ip_address

from dmvpn_agent.addresses import Address
from dmvpn_agent.charon.ike_peer import ike_peer
from dmvpn_agent.policy.request import BindingRequest, BindingType
from dmvpn_agent.runtime.sqlite_file import DATABASE_ERRORS
from dmvpn_agent.runtime.store import Rows, StoreUnreadable, _blob, _rows, _text
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.runtime.unreadable import ItemSource, Unreadable
from dmvpn_agent.x509.certificate import BadCertificate, Certificate
from dmvpn_agent.x509.certificate_reader import read_certificate

_COLUMNS = (
    "protocol_address", "interface", "binding_type", "nbma_address", "certificate", "ike_identity",
    "local_nbma_address",
)  # fmt: skip


def _request(row: Sequence[object]) -> BindingRequest:
    """Read a row. Raises ``ValueError``: SQLite keeps values of any type in any column, and files get damaged."""
    text = [_text(row[place]) for place in (0, 1, 2, 3, 5, 6)]
    address, interface, kind, nbma, identity, local = text
    der = _blob(row[4])
    return BindingRequest(
        interface=interface,
        binding_type=BindingType(kind),
        protocol_address=ip_address(address),
        nbma_address=ip_address(nbma),
        certificate=_certificate(der) if der else None,
        ike_peers=frozenset({ike_peer(identity, has_certificate=False)}) if identity else None,
        local_nbma_address=ip_address(local) if local else None,
    )


def _certificate(der: bytes) -> Certificate:
    certificate = read_certificate(der)
    if isinstance(certificate, BadCertificate):
        raise ValueError(f"its certificate is {certificate.why}")
    return certificate


class PeerTable:
    """The binding requests of accepted peers, by protocol address."""

    def __init__(self, store: Rows, unreadable: Unreadable | None = None) -> None:
        self._store = store
        self._unreadable = unreadable or Unreadable(Telemetry())

    def load(self) -> Iterator[BindingRequest]:
        """Yield all that was saved, the latest at the end; a row that is no request is skipped.

        Raises ``StoreUnreadable``.
        """
        try:
            for number, row in _rows(self._store.db, "peers", _COLUMNS):
                try:
                    yield _request(row)
                except ValueError as error:
                    self._unreadable.skip(ItemSource.STORED_PEER, number, f"row {number}: {error}")
        except DATABASE_ERRORS as error:
            raise StoreUnreadable(f"the stored peers cannot be read: {error}") from error

    def save(self, request: BindingRequest) -> None:
        """Keep a request in place of the address's former one; without certificate, only a pre-shared key's."""
        certificate = request.certificate
        present = request.ike_peers or ()
        identities = [one.identity for one in present if not (one.has_certificate or one.unproven)]
        if isinstance(certificate, Certificate) or (certificate is None and len(identities) == 1):
            self._store.write(
                f"REPLACE INTO peers ({', '.join(_COLUMNS)}) VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608  constants
                (
                    str(request.protocol_address),
                    request.interface,
                    str(request.binding_type),
                    str(request.nbma_address),
                    certificate.der if certificate else b"",
                    "" if certificate else identities[0],
                    str(request.local_nbma_address or ""),
                ),
            )

    def remove(self, address: Address) -> None:
        """Forget an address; it need not be there."""
        self._store.write("DELETE FROM peers WHERE protocol_address = ?", (str(address),))
