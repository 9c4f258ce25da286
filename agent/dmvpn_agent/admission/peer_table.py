"""The accepted peers, as they are stored."""

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from sys import intern

from dmvpn_agent.addresses import Address
from dmvpn_agent.charon.ike_peer import ike_peer
from dmvpn_agent.policy.request import BindingRequest, BindingType
from dmvpn_agent.runtime.sqlite_file import Row, Table, read_file
from dmvpn_agent.runtime.store import Store
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.runtime.unreadable import ItemSource, Unreadable
from dmvpn_agent.x509.certificate import BadCertificate, Certificate
from dmvpn_agent.x509.certificate_reader import read_certificate


class PeerTable:
    """The binding requests of accepted peers, by protocol address."""

    #: ``certificate`` is DER, and empty for a peer with a pre-shared key, whose identity is ``ike_identity``.
    TABLE = Table(
        "peers",
        {
            "protocol_address": str,
            "interface": str,
            "binding_type": str,
            "nbma_address": str,
            "certificate": bytes,
            "ike_identity": str,
            "local_nbma_address": str,
        },
        ItemSource.STORED_PEER,
    )

    def __init__(self, store: Store) -> None:
        self._store = store

    def load(self) -> Iterator[BindingRequest]:
        """Yield all that was saved, the latest at the end; a row that is not a request is skipped."""
        return _requests(self._store.rows(), self._store.unreadable)

    def save(self, request: BindingRequest) -> None:
        """Keep a request in place of the address's former one; without a certificate, only a pre-shared key's."""
        certificate = request.certificate
        present = request.ike_peers or ()
        identities = [one.identity for one in present if not (one.has_certificate or one.unproven)]
        if isinstance(certificate, Certificate) or (certificate is None and len(identities) == 1):
            self._store.save(
                (
                    str(request.protocol_address),
                    intern(request.interface),  # the store keeps the rows: what is the same for all is kept once
                    request.binding_type.value,
                    str(request.nbma_address),
                    certificate.der if certificate else b"",
                    "" if certificate else identities[0],
                    intern(str(request.local_nbma_address or "")),
                )
            )

    def remove(self, address: Address) -> None:
        """Forget an address; it need not be there."""
        self._store.remove(str(address))


def read_peers(path: Path) -> tuple[BindingRequest, ...]:
    """Return the requests in the file of an agent that may be running. Raises ``StoreUnreadable``."""
    unreadable = Unreadable(Telemetry())
    return tuple(_requests(read_file(path, PeerTable.TABLE, unreadable).values(), unreadable))


def _requests(rows: Iterable[Row], unreadable: Unreadable) -> Iterator[BindingRequest]:
    for row in rows:
        try:
            yield _request(dict(zip(PeerTable.TABLE.columns, row, strict=True)))
        except ValueError as error:
            unreadable.skip(PeerTable.TABLE.source, row[0], f"{row[0]!r}: {error}")


def _request(columns: Mapping[str, str | bytes]) -> BindingRequest:
    """Read a row. Raises ``ValueError``: files get damaged."""
    texts = {name: value for name, value in columns.items() if isinstance(value, str)}
    certificate, identity, local = columns["certificate"], texts["ike_identity"], texts["local_nbma_address"]
    return BindingRequest(
        interface=texts["interface"],
        binding_type=BindingType(texts["binding_type"]),
        protocol_address=ip_address(texts["protocol_address"]),
        nbma_address=ip_address(texts["nbma_address"]),
        certificate=_certificate(certificate) if isinstance(certificate, bytes) and certificate else None,
        ike_peers=frozenset({ike_peer(identity, has_certificate=False)}) if identity else None,
        local_nbma_address=ip_address(local) if local else None,
    )


def _certificate(der: bytes) -> Certificate:
    certificate = read_certificate(der)
    if isinstance(certificate, BadCertificate):
        raise ValueError(f"its certificate is {certificate.why}")
    return certificate
