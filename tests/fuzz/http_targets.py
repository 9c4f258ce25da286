"""What servers and files bring to a node that fetches, enrols and renews, and to the CA."""

import base64
import json
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import lru_cache
from random import Random

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from cryptography.x509.oid import NameOID

from configuration import config_from
from dmvpn_agent.ca.backup import _read as read_backup
from dmvpn_agent.ca.csv_import import COLUMNS, read_rows
from dmvpn_agent.ca.dmvpn_ca import read_old_configuration
from dmvpn_agent.ca.errors import CaError
from dmvpn_agent.ca.issuing import read_request
from dmvpn_agent.crls.distribution_points import MAX_URLS, distribution_points
from dmvpn_agent.renewal.candidate import Judgement, objections
from dmvpn_agent.renewal.est import EstError, decode_certificates
from dmvpn_agent.renewal.state import RenewalState, state_from
from dmvpn_agent.runtime.url import BadUrl, Url
from dmvpn_agent.x509.authorities import read_authority
from dmvpn_agent.x509.certificate import Certificate
from dmvpn_agent.x509.certificate_reader import read_certificate
from dmvpn_agent.x509.trust_store import TrustStore
from factories import NOW
from fuzz.mutate import blind
from fuzz.targets import Broken
from pki import Party

_POINTS = x509.CRLDistributionPoints([
    x509.DistributionPoint([x509.UniformResourceIdentifier("http://ca.example/a.crl")], None, None, None)
])  # fmt: skip


@lru_cache
def _own() -> tuple[bytes, bytes]:
    """A CA and a certificate of it, in DER; the same subject as the node's."""
    authority = Party("Fuzz CA", dates=(NOW - timedelta(days=9), NOW + timedelta(days=900)))
    node = Party("node", dates=(NOW - timedelta(days=1), NOW + timedelta(days=90)))
    return authority.certify(authority, _POINTS), authority.certify(node, _POINTS, ca=False)


class Octets:
    """Input of one reader, changed blindly. ``documented``: what the reader may raise."""

    def __init__(
        self, seeds: Sequence[bytes], reader: Callable[[bytes], object], *documented: type[Exception]
    ) -> None:
        self._seeds = tuple(seeds)
        self._reader = reader
        self._documented = documented

    def make(self, random: Random) -> bytes:
        """Return an input."""
        data = random.choice(self._seeds)
        for _ in range(random.choice((0, 1, 1, 1, 2, 5))):
            data = blind(random, data, self._seeds)
        return data

    def check(self, data: bytes, _: Random) -> bool:
        """Read an input; tell whether it was understood."""
        try:
            return self._reader(data) is not None
        except self._documented:
            return False


class EstAnswers(Octets):
    """``decode_certificates``, with base64 that is whole, or itself changed."""

    def __init__(self) -> None:
        loaded = [x509.load_der_x509_certificate(der) for der in _own()]
        contents = [pkcs7.serialize_certificates(some, Encoding.DER) for some in (loaded, loaded[:1])]
        super().__init__(contents, decode_certificates, EstError)

    def make(self, random: Random) -> bytes:
        """Return an input."""
        if random.random() < 0.8:
            return base64.encodebytes(super().make(random))
        return blind(random, base64.encodebytes(random.choice(self._seeds)), self._seeds)


class Candidates(Octets):
    """``objections``: what the CA did not sign as it is never replaces the present certificate."""

    def __init__(self) -> None:
        authority, own = _own()
        present = read_certificate(own)
        assert isinstance(present, Certificate)
        self._present = present
        config = config_from({"role": "spoke", "policy": {"tunnel_networks": ["10.255.0.0/24"]}})
        self._by = Judgement(config.policy, TrustStore([read_authority(authority)]).trust(), NOW)
        ca = Party("Fuzz CA", dates=(NOW - timedelta(days=9), NOW + timedelta(days=900)))
        later = Party("node", dates=(NOW - timedelta(days=1), NOW + timedelta(days=180)))
        self._next = ca.certify(later, _POINTS, ca=False)
        super().__init__([self._next, own, authority], self._judge)

    def _judge(self, data: bytes) -> object:
        new = read_certificate(data)
        if list(objections(new, self._present, self._by)):
            return None
        signed = x509.load_der_x509_certificate(self._next).tbs_certificate_bytes
        if x509.load_der_x509_certificate(data).tbs_certificate_bytes != signed:
            raise Broken("a changed certificate may replace the present one")
        return new


class DistributionPoints(Octets):
    """``distribution_points``."""

    def __init__(self) -> None:
        super().__init__(_own(), self._read)

    @staticmethod
    def _read(data: bytes) -> object:
        certificate = read_certificate(data)
        if not isinstance(certificate, Certificate):
            return None
        found = distribution_points([certificate])
        if len(found) > MAX_URLS or any(Url.parse(str(url)) != url for url in found):
            raise Broken("a distribution point is no URL")
        return found


class Urls(Octets):
    """``Url.parse``: what it takes has no character that is special in TOML, HTTP or a terminal."""

    def __init__(self) -> None:
        seeds = b"http://ca.example/a.crl", b"https://[2001:db8::1]:8443/a?b=c", b"http://10.255.0.1:8080/crl.pem"
        super().__init__(seeds, self._read, BadUrl)

    @staticmethod
    def _read(data: bytes) -> object:
        url = Url.parse(data.decode("latin-1"))
        if any(char in str(url) for char in '\r\n\t "\\#<>') or not url.host or not url.target.startswith("/"):
            raise Broken(f"{url} is no URL")
        return url


class RenewalStates(Octets):
    """``state_from``, which never raises."""

    def __init__(self) -> None:
        note = {"due": NOW.isoformat(), "failures": 3, "trouble": "x", "next_attempt": None, "in_use": "ab"}
        super().__init__([json.dumps(note).encode()], state_from)

    def check(self, data: bytes, random: Random) -> bool:
        """Read an input; tell whether it was understood."""
        return state_from(data) != RenewalState()


class CaRequests(Octets):
    """``read_request``: certificate requests that anybody sends to the CA."""

    def __init__(self) -> None:
        key = ec.derive_private_key(4711, ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "FIN-1")])
        request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, SHA256())
        super().__init__([request.public_bytes(one) for one in (Encoding.DER, Encoding.PEM)], read_request, CaError)


class CaFiles(Octets):
    """``read_rows``, ``read_old_configuration`` and the reader of backups: files that an operator brings."""

    def __init__(self) -> None:
        rows = f"{','.join(COLUMNS)}\nFIN,10.1.0.0/16,,,,\n".encode()
        old = b"crl:\n  dist-point: http://crl.example/a.crl\ndefault-asn: 65000\n"
        backup = b'{"backup": "dmvpn-ca/1"}\n'
        super().__init__([rows, old, backup], self._read)

    @staticmethod
    def _read(data: bytes) -> object:
        understood = None
        for reader in (read_rows, read_old_configuration, read_backup):
            try:
                understood = reader(data)
            except CaError:
                continue
        return understood
