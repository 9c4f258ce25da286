"""Values for tests: certificates as a CA issues them, events as nhrpd sends them, a policy."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from dmvpn_agent.addresses import AsRange
from dmvpn_agent.bgp.settings import BgpSettings
from dmvpn_agent.frr.settings import Frr
from dmvpn_agent.policy.decision import Decision
from dmvpn_agent.policy.judge import Judge
from dmvpn_agent.policy.peer import Peer, PeerKind
from dmvpn_agent.policy.request import BindingRequest, BindingType
from dmvpn_agent.policy.rules import Policy, Rules
from dmvpn_agent.runtime.clocks import Clocks
from dmvpn_agent.x509.certificate import Certificate, Role
from dmvpn_agent.x509.certificate_reader import read_certificate
from dmvpn_agent.x509.trust import Trust

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
YEAR = timedelta(days=365)
ADDRESS = ip_address("10.255.0.2")
NBMA = ip_address("203.0.113.2")
UNITS = ("GRE=10.255.0.2", "AS=64512", "NET=192.168.2.0/24")
SETTINGS = BgpSettings(as_number=65000, peer_group="spokes")
FRR = Frr(
    vtysh="vtysh",
    vty_directory=Path("/run/frr"),
    bgp_transport="vtysh",
    coalesce=0,
    resync_interval=30,
    linger=600,
)
RULES = Rules(
    tunnel_networks=(ip_network("10.255.0.0/24"),),
    allowed_networks=(ip_network("192.168.0.0/16"),),
    as_ranges=(AsRange(64512, 65534), AsRange(4200000000, 4294967294)),
    needs_as_number=True,
    max_prefix_length=(26, 64),
)


def policy(everybody: Rules = RULES, /, **changes: Any) -> Policy:
    """Return a hub's policy with these rules for every kind of peer; ``changes`` replace its other fields."""
    fields: dict[str, Any] = {"role": Role.HUB, "own_as_number": 65000, **changes}
    fields.setdefault("rules", {"gre1": dict.fromkeys(PeerKind, everybody)})
    return Policy(**fields)


POLICY = policy()


def decide(
    request: BindingRequest, policy: Policy = POLICY, now: datetime = NOW, trust: Trust | None = None
) -> Decision:
    """Decide by certificate and policy alone, without other peers."""
    return Judge(policy, trust or Trust()).decide(request, now)


class Clock:
    """Both clocks; they stand still until moved. ``jump`` sets only the time of day."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now
        self._uptime = timedelta(days=3)
        self.both = Clocks(self, self.uptime)

    def __call__(self) -> datetime:
        return self.now

    def uptime(self) -> timedelta:
        return self._uptime

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self._uptime += timedelta(seconds=seconds)

    def jump(self, by: timedelta) -> None:
        self.now += by


@lru_cache
def key() -> ec.EllipticCurvePrivateKey:
    """Return one key for all: no test checks its strength."""
    return ec.generate_private_key(ec.SECP256R1())


@lru_cache(maxsize=4096)
def der(
    units: tuple[str, ...] = UNITS,
    name: str = "spoke1",
    not_before: datetime = NOW - YEAR,
    not_after: datetime = NOW + YEAR,
    padding: int = 0,
    dns_name: str = "",
) -> bytes:
    """Return a certificate with these subject OUs; ``padding`` bytes make it larger."""
    subject = x509.Name(
        [
            *(x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit) for unit in units),
            *([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else []),
        ]
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(CA_NAME)
        .public_key(key().public_key())
        .serial_number(1 + abs(hash((units, name))))
        .not_valid_before(not_before)
        .not_valid_after(not_after)
    )
    if dns_name:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(dns_name)]), critical=False)
    if padding:
        extension = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), bytes(padding))
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key(), hashes.SHA256()).public_bytes(Encoding.DER)


CA_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test CA")])


def authority_pem() -> bytes:
    """Return the certificate of the CA that signs the others."""
    return (
        x509.CertificateBuilder()
        .subject_name(CA_NAME)
        .issuer_name(CA_NAME)
        .public_key(key().public_key())
        .serial_number(1)
        .not_valid_before(NOW - YEAR)
        .not_valid_after(NOW + YEAR)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key(), hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )


def crl_pem(
    *serials: int,
    number: int | None = 1,
    update: datetime = NOW,
    signed_by: ec.EllipticCurvePrivateKey | None = None,
) -> bytes:
    """Return a CRL of that CA, good for a week from ``update``."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(CA_NAME)
        .last_update(update)
        .next_update(update + timedelta(days=7))
    )
    if number is not None:
        builder = builder.add_extension(x509.CRLNumber(number), critical=False)
    for serial in serials:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(update).build()
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(signed_by or key(), hashes.SHA256()).public_bytes(Encoding.PEM)


def certificate(*units: str, **options: Any) -> Certificate:
    """Return a certificate as the policy sees it; with the default OUs if none are given."""
    read = read_certificate(der(units or UNITS, **options))
    assert isinstance(read, Certificate)
    return read


def request(*units: str, **changes: Any) -> BindingRequest:
    """Return a request with a certificate of these OUs; ``changes`` replace fields of it."""
    fields: dict[str, Any] = {
        "interface": "gre1",
        "binding_type": BindingType.DYNAMIC,
        "protocol_address": ADDRESS,
        "nbma_address": NBMA,
        **changes,
    }
    if "certificate" not in fields:
        fields["certificate"] = certificate(*units)
    return BindingRequest(**fields)


def event(event_id: int = 1, der_hex: str | None = None, **changes: str) -> bytes:
    """Return an ``authorize-binding`` event as nhrpd writes it, fields in its order."""
    fields = {
        "eventid": str(event_id),
        "event": "authorize-binding",
        "type": "dynamic",
        "old_type": "invalid",
        "num_nhs": "0",
        "interface": "gre1",
        "local_addr": "10.255.0.1",
        "vc_initiated": "no",
        "local_nbma": "203.0.113.1",
        "local_cert": "",
        "remote_addr": str(ADDRESS),
        "remote_nbma": str(NBMA),
        "remote_cert": der().hex() if der_hex is None else der_hex,
        **changes,
    }
    return "".join(f"{name}={value}\n" for name, value in fields.items()).encode() + b"\n"


def spoke(number: int, *networks: str, as_number: int | None = None, fingerprint: str | None = None) -> Peer:
    """Return the accepted peer 10.255.0.<number>; by default AS 64512+number and one network of its own."""
    return Peer(
        protocol_address=ip_address("10.255.0.0") + number,
        nbma_address=ip_address("203.0.113.0") + number,
        interface="gre1",
        as_number=64512 + number if as_number is None else as_number,
        prefixes=tuple(ip_network(text) for text in networks or (f"192.168.{number}.0/24",)),
        fingerprint=fingerprint or f"{number:064x}",
        subject=f"CN=spoke{number}",
        not_after=NOW + YEAR,
        identity=f"spoke{number}",
        max_prefix_length=(26, 64),
    )


def spoke_request(number: int, *networks: str, as_number: int | None = None) -> BindingRequest:
    """Return the request of the spoke that ``spoke`` describes."""
    peer = spoke(number, *networks, as_number=as_number)
    units = (
        f"GRE={peer.protocol_address}",
        f"AS={peer.as_number}",
        *(f"NET={prefix}" for prefix in peer.prefixes),
    )
    return request(
        protocol_address=peer.protocol_address,
        nbma_address=peer.nbma_address,
        certificate=certificate(*units, name=f"spoke{number}"),
    )
