"""Which certificate proves an identity that a real charon prints, and how a renewed certificate takes effect."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID

from contract.charon_pair import Side, two_charons
from contract.charons import needs_charon
from dmvpn_agent.bridge import metrics
from dmvpn_agent.bridge.certificate_index import CertificateIndex
from dmvpn_agent.bridge.certificates import Certificates
from dmvpn_agent.charon.commands import list_certificates, list_sas
from dmvpn_agent.charon.sa import IkeSa
from dmvpn_agent.runtime.telemetry import Telemetry
from factories import CA_NAME, NOW, UNITS, YEAR, der, key

pytestmark = [pytest.mark.contract, needs_charon(sas=True)]

PRINTABLE, UTF8, T61, BMP = (
    _ASN1Type.PrintableString, _ASN1Type.UTF8String, _ASN1Type.T61String, _ASN1Type.BMPString,
)  # fmt: skip
CN, ORGANIZATION, UNIT = NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME
Rdn = tuple[tuple[x509.ObjectIdentifier, str, _ASN1Type], ...]


def _plain(*attributes: tuple[x509.ObjectIdentifier, str]) -> tuple[Rdn, ...]:
    return tuple(((oid, text, UTF8),) for oid, text in attributes)


@dataclass(frozen=True)
class Case:
    """A peer's certificate, its IKE identity (by default its subject), and whether the certificate proves it."""

    subject: tuple[Rdn, ...] = _plain((CN, "peer"))
    alternatives: tuple[x509.GeneralName, ...] = ()
    identity: str = ""
    printed: str = ""
    proven: bool = True


ALTERNATIVES = (
    x509.DNSName("Peer.example"), x509.RFC822Name("peer@example.org"), x509.IPAddress(ip_address("10.255.0.9")),
    x509.IPAddress(ip_address("2001:db8::9")),
)  # fmt: skip

CASES = {
    "order": Case(_plain((CN, "peer"), (ORGANIZATION, "lab"), (UNIT, "b"), (UNIT, "a"))),
    "string types": Case((((ORGANIZATION, "lab", PRINTABLE),), ((CN, "peer", T61),))),
    "several in one RDN": Case((((UNIT, "a", UTF8), (UNIT, "b", UTF8)), ((CN, "peer", UTF8),))),
    "signs": Case(_plain((ORGANIZATION, 'a, b "c" = d'), (UNIT, " e "), (CN, "peer/1+2"))),
    "printable, another case": Case(
        (((ORGANIZATION, "Lab", PRINTABLE),), ((CN, "Peer", PRINTABLE),)),
        identity="O=LAB, CN=peer",
        printed="O=LAB, CN=peer",
    ),
    "a name, another case": Case(alternatives=ALTERNATIVES, identity="peer.EXAMPLE"),
    "mail": Case(alternatives=ALTERNATIVES, identity="peer@example.org"),
    "IPv4": Case(alternatives=ALTERNATIVES, identity="10.255.0.9"),
    "IPv6": Case(alternatives=ALTERNATIVES, identity="2001:db8::9"),
    "not ASCII": Case(_plain((CN, "Müller")), printed="CN=M??ller", proven=False),
    "BMP": Case((((CN, "peer", BMP),),), printed="CN=?p?e?e?r", proven=False),
    "too long": Case(_plain(*((UNIT, f"NET=192.168.{n}.0/24") for n in range(30)), (CN, "peer")), proven=False),
    "like two attributes": Case(_plain((CN, "a, OU=b")), printed="CN=a, OU=b", proven=False),
    "a pattern of names": Case(alternatives=ALTERNATIVES, identity="*.example", proven=False),
    "a pattern of subjects": Case(_plain((ORGANIZATION, "lab"), (CN, "peer")), identity="O=lab, CN=*", proven=False),
    "its serial number": Case(identity="@#70656572", printed="peer", proven=False),
}


@lru_cache
def _issue(case: Case) -> bytes:
    subject = x509.Name([
        x509.RelativeDistinguishedName([x509.NameAttribute(oid, text, kind) for oid, text, kind in rdn])
        for rdn in case.subject
    ])  # fmt: skip
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(CA_NAME)
        .public_key(key().public_key())
        .serial_number(int.from_bytes(b"peer"))
        .not_valid_before(NOW - YEAR)
        .not_valid_after(NOW + YEAR)
    )
    if case.alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(case.alternatives), critical=False)
    return builder.sign(key(), hashes.SHA256()).public_bytes(Encoding.DER)


class Pair:
    """A node, and a peer that connects to it with a given certificate."""

    def __init__(self, node: Side, peer: Side) -> None:
        self.node, self.peer = node, peer

    async def connect(self, certificate: bytes, identity: str = "") -> IkeSa:
        """Have the peer connect with this certificate and identity; return the node's IKE_SA."""
        await self.peer.show(certificate, self.node, **({"id": identity} if identity else {}))
        await self.peer.ask("initiate", {"child": "dmvpn", "timeout": "10000"})
        (sa,) = await self.node.sas()
        return sa

    async def gone(self) -> None:
        """Wait until the node has no IKE_SA."""
        while await self.node.sas():
            pass

    async def disconnect(self) -> None:
        await self.peer.ask("terminate", {"ike": "dmvpn", "timeout": "1000"})
        await self.gone()

    async def cache(self) -> list[bytes]:
        async with self.node.session() as session:
            return await list_certificates(session)


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    async with two_charons(tmp_path) as (node, peer):
        yield Pair(node, peer)


async def test_a_certificate_proves_the_identities_that_charon_accepts_with_it(pair: Pair) -> None:
    """For each kind of identity that charon accepts, the certificate proves it or no certificate does."""
    for name, case in CASES.items():
        certificate = _issue(case)
        sa = await pair.connect(certificate, case.identity)
        assert sa.remote_id == (case.printed or case.identity or sa.remote_id), name
        found = [
            one
            for one in CertificateIndex(await pair.cache()).matching(sa.remote_id)
            if one.certificate.der == certificate
        ]
        assert [one.certain for one in found if one.certain] == [True] * case.proven, (name, sa.remote_id)
        await pair.disconnect()
        await pair.node.ask("flush-certs", {"type": "X509"})


async def test_a_wildcard_identity_is_never_proved(pair: Pair) -> None:
    """charon accepts a peer under the wildcard name of another peer's certificate."""
    wild = Case(_plain((CN, "wild")), (x509.DNSName("*.example"),))
    await pair.connect(_issue(wild))
    await pair.disconnect()
    sa = await pair.connect(_issue(CASES["a pattern of names"]), "*.example")
    assert sa.remote_id == "*.example"
    found = CertificateIndex(await pair.cache()).matching(sa.remote_id)
    assert [one.certain for one in found] == [False]


class _Memory:
    def load(self) -> list[tuple[str, bytes, bytes]]:
        return []

    def save(self, spis: str, local: bytes, remote: bytes) -> None: ...

    def remove(self, spis: str) -> None: ...


async def test_a_renewed_certificate_with_more_resources_counts_after_a_reauthentication(pair: Pair) -> None:
    """charon's cache still has the former certificate: the bridge empties it and deletes the IKE_SA, once."""
    telemetry = Telemetry()
    certificates = Certificates(_Memory(), lambda *_: True, telemetry)
    identity = "peer.example"
    old = der(dns_name=identity)
    renewed = der((*UNITS, "NET=192.168.9.0/24"), dns_name=identity, not_before=NOW - timedelta(days=1))

    async def learned(sa: IkeSa) -> bytes:
        async with pair.node.session() as session:
            await certificates.learn(session, await list_sas(session))
        return certificates.of(sa)[1]

    async with pair.node.session() as session:
        await certificates.begin(session, {"dmvpn"})
    assert await learned(await pair.connect(old, identity)) == old
    await pair.disconnect()
    assert await learned(await pair.connect(renewed, identity)) == old
    await pair.gone()
    assert await learned(await pair.connect(renewed, identity)) == renewed
    assert telemetry.value(metrics.BRIDGE_CACHE_FLUSHES, "flushed") == 1
    assert telemetry.value(metrics.BRIDGE_REAUTHENTICATIONS, "competing") == 1
    assert len(await pair.node.sas()) == 1
