"""The accepted peers, as they are stored."""

from collections.abc import Iterator
from functools import lru_cache
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


def _row(address: Address, request: BindingRequest) -> Row:
    certificate = request.certificate
    return (
        str(address),
        request.interface,
        request.binding_type.value,
        str(request.nbma_address),
        certificate.der if isinstance(certificate, Certificate) else b"",
        "" if certificate else _pre_shared_key_identities(request)[0],
        str(request.local_nbma_address or ""),
    )


def _pre_shared_key_identities(request: BindingRequest) -> list[str]:
    return [one.identity for one in request.ike_peers or () if not (one.has_certificate or one.unproven)]


def _request(row: Row) -> tuple[Address, BindingRequest]:
    """Read a row. Raises ``ValueError``: files get damaged."""
    columns = dict(zip(PeerTable.TABLE.columns, row, strict=True))
    texts = {name: value for name, value in columns.items() if isinstance(value, str)}
    certificate, identity, local = columns["certificate"], texts["ike_identity"], texts["local_nbma_address"]
    address = ip_address(texts["protocol_address"])
    return address, BindingRequest(
        interface=intern(texts["interface"]),
        binding_type=BindingType(texts["binding_type"]),
        protocol_address=address,
        nbma_address=ip_address(texts["nbma_address"]),
        certificate=_certificate(certificate) if isinstance(certificate, bytes) and certificate else None,
        ike_peers=frozenset({ike_peer(identity, has_certificate=False)}) if identity else None,
        local_nbma_address=_local(local) if local else None,
    ).kept


@lru_cache(maxsize=64)
def _local(text: str) -> Address:
    """Return an address of this node: cached, because it is the same for all peers."""
    return ip_address(text)


def _certificate(der: bytes) -> Certificate:
    certificate = read_certificate(der)
    if isinstance(certificate, BadCertificate):
        raise ValueError(f"its certificate is {certificate.why}")
    return certificate


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
        _row,
        _request,
    )

    def __init__(self, store: Store[Address, BindingRequest]) -> None:
        self._store = store

    def load(self) -> Iterator[BindingRequest]:
        """Yield all that was saved, the latest at the end; a row that is not a request is skipped."""
        return (request for _, request in self._store.load())

    def save(self, request: BindingRequest) -> None:
        """Keep a request in place of the address's former one; without a certificate, only a pre-shared key's."""
        certificate = request.certificate
        if isinstance(certificate, Certificate) or (
            certificate is None and len(_pre_shared_key_identities(request)) == 1
        ):
            self._store.save(request.protocol_address, request)

    def remove(self, address: Address) -> None:
        """Forget an address; it need not be there."""
        self._store.remove(address)


def read_peers(path: Path) -> tuple[BindingRequest, ...]:
    """Return the requests in the file of an agent that may be running. Raises ``StoreUnreadable``."""
    unreadable = Unreadable(Telemetry())
    rows = read_file(path, PeerTable.TABLE, unreadable)
    return tuple(request for _, request in PeerTable.TABLE.decoded(rows, unreadable))
