"""Reads a certificate from DER.

charon passes on only the certificates of peers that it authenticated, and ``TrustStore`` verifies the signatures.
Here the certificate is untrusted input all the same. cryptography parses it and the extensions of RFC 5280. Names are
read from the DER itself: charon compares and prints their octets, which cryptography does not expose.
"""

import hashlib
from collections.abc import Iterable
from functools import lru_cache

from cryptography import x509

from dmvpn_agent.x509.certificate import BadCertificate, Certificate, Resources, Source
from dmvpn_agent.x509.claim_sources import (
    HUBS,
    OWN_EXTENSIONS,
    RESOURCE_UNITS,
    from_alternative_name,
    from_dmvpn_ca,
    from_rfc3779,
    from_units,
    hub_hosts,
    lookalikes,
)
from dmvpn_agent.x509.claims import MAX_CLAIMS, escaped
from dmvpn_agent.x509.der import Malformed
from dmvpn_agent.x509.ike_identity import approximate_printed_subject, printed_alternative_names, printed_subject
from dmvpn_agent.x509.name import (
    Attribute,
    Name,
    canonical_name,
    canonical_rdns,
    display_text,
    folded_name,
    folded_text,
    issuer_and_subject,
    read_name,
    read_rdns,
)
from dmvpn_agent.x509.peer_label import subject_label
from dmvpn_agent.x509.rfc4514 import rfc4514_text

MAX_CERTIFICATE_BYTES = 64 * 1024
#: RFC 5280, section 4.1.2.2, allows 20. Python refuses to print numbers of thousands (``sys.int_info``).
MAX_SERIAL_OCTETS = 64

_ORGANIZATIONAL_UNIT = "2.5.4.11"
#: CN, serialNumber, UID, emailAddress: these attributes distinguish the subjects of one organization.
_DISTINCTIVE = frozenset({"2.5.4.3", "2.5.4.5", "0.9.2342.19200300.100.1.1", "1.2.840.113549.1.9.1"})
_NO_RESOURCES = Resources()


def read_certificate(der: bytes) -> Certificate | BadCertificate:
    """Read a DER certificate. Never raises: a faulty certificate is a ``BadCertificate``."""
    if len(der) > MAX_CERTIFICATE_BYTES:
        return BadCertificate(f"longer than {MAX_CERTIFICATE_BYTES} bytes")
    try:
        return _read(der)
    except Malformed as error:
        return BadCertificate(str(error))
    except Exception as error:
        return BadCertificate(f"not readable: {escaped(str(error) or type(error).__name__)}")


def _read(der: bytes) -> Certificate:
    certificate = x509.load_der_x509_certificate(der)
    issuer_name, subject_name = issuer_and_subject(der)
    rdns = read_rdns(subject_name)
    subject = tuple([attribute for rdn in rdns for attribute in rdn])
    alternatives, own = _extensions(certificate)
    units = _units(subject)
    resources = {
        Source.SUBJECT: from_units(units),
        Source.SUBJECT_ALT_NAME: from_alternative_name(alternatives),
        Source.RFC3779: from_rfc3779(own),
        Source.DMVPN_CA: from_dmvpn_ca(own),
    }
    name = display_text(subject)
    identities = set(printed_alternative_names(alternatives))
    if (printed := printed_subject(subject)) is not None:
        identities.add(name if printed == name else printed)  # most often equal, and kept by the thousand
    forms = {name, approximate_printed_subject(subject)}
    issuer_name, issuer, issuer_rfc4514 = _issuer(issuer_name)
    return Certificate(
        fingerprint=hashlib.sha256(der).hexdigest(),
        subject=name,
        serial=_serial(certificate),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        issuer=issuer,
        subject_name=subject_name,
        issuer_name=issuer_name,
        identity=_identity(issuer_name, rdns),
        identities=tuple(sorted(identities)),
        aliases=tuple(sorted(forms - identities)),
        folded_subject=_folded(subject_name, forms),
        subject_rfc4514=rfc4514_text(rdns),
        issuer_rfc4514=issuer_rfc4514,
        resources={source: named for source, named in resources.items() if named != _NO_RESOURCES},
        lookalikes=lookalikes(units),
        hub_hosts=hub_hosts(own),
        label=subject_label(subject),
        site=_site(rdns),
        der=der,
    )


def _folded(subject_name: bytes, forms: Iterable[str]) -> str:
    """Return the whole subject for patterns, empty if one of its other forms is the same to them."""
    folded = folded_name(subject_name)
    return "" if folded in map(folded_text, forms) else folded


def _serial(certificate: x509.Certificate) -> int:
    """Return the serial number, also 0 or negative, as some CAs issue. Raises ``Malformed`` for a huge one."""
    serial = certificate.serial_number
    if serial.bit_length() > 8 * MAX_SERIAL_OCTETS:
        raise Malformed(f"its serial number is longer than {MAX_SERIAL_OCTETS} octets")
    return serial


@lru_cache(maxsize=64)
def _issuer(name: bytes) -> tuple[bytes, str, str]:
    """Return an issuer's name in DER, for people and for patterns; cached, so that certificates share the objects."""
    return name, display_text(read_name(name)), rfc4514_text(read_rdns(name))


def _identity(issuer_name: bytes, subject: tuple[Name, ...]) -> str:
    """Return a hash of the issuer's and the subject's canonical names, without the OUs that name resources.

    If nothing distinctive would be left of the subject, the whole name counts: two peers must not become one.
    """
    lasting = [
        tuple(
            attribute
            for attribute in rdn
            if attribute.oid != _ORGANIZATIONAL_UNIT or not (attribute.text or "").startswith(RESOURCE_UNITS)
        )
        for rdn in subject
    ]
    named = any(attribute.oid in _DISTINCTIVE for rdn in lasting for attribute in rdn)
    name = canonical_rdns(tuple(rdn for rdn in lasting if rdn)) if named else canonical_rdns(subject)
    issuer = canonical_name(issuer_name)
    return hashlib.sha256(len(issuer).to_bytes(4) + issuer + name).hexdigest()[:32]


def _site(subject: tuple[Name, ...]) -> str:
    """Return a hash of what the subjects of one site have in common: all but resources and distinctive attributes.

    Empty if no OU is left: such a subject names no site.
    """
    common = [
        tuple(one for one in rdn if one.oid not in _DISTINCTIVE and not _is_resource_unit(one)) for rdn in subject
    ]
    if not any(one.oid == _ORGANIZATIONAL_UNIT and (one.text or "").strip() for rdn in common for one in rdn):
        return ""
    return hashlib.sha256(canonical_rdns(tuple(rdn for rdn in common if rdn))).hexdigest()[:32]


def _is_resource_unit(attribute: Attribute) -> bool:
    text = attribute.text or ""
    return attribute.oid == _ORGANIZATIONAL_UNIT and (text == HUBS or text.startswith(RESOURCE_UNITS))


def _units(subject: Name) -> list[str]:
    """Return the subject's OUs. Raises ``Malformed`` for one that is no string, and for too many."""
    units = []
    for oid, _, text, _ in subject:
        if oid == _ORGANIZATIONAL_UNIT:
            if text is None:
                raise Malformed("an OU is no string")
            units.append(text)
    if len(units) > MAX_CLAIMS:
        raise Malformed(f"more than {MAX_CLAIMS} OUs")
    return units


def _extensions(certificate: x509.Certificate) -> tuple[list[x509.GeneralName], dict[str, bytes]]:
    """Return the subjectAltNames, and by OID the extensions that cryptography does not know.

    Raises ``Malformed`` for a critical extension that the agent does not know either (RFC 5280, section 4.2).
    """
    alternatives: list[x509.GeneralName] = []
    own: dict[str, bytes] = {}
    for extension in certificate.extensions:
        value = extension.value
        kind = type(value)  # isinstance is slow here, because extension types derive from abstract base classes
        if kind is x509.SubjectAlternativeName:
            alternatives = list(value)
        elif kind is x509.UnrecognizedExtension:
            oid = extension.oid.dotted_string
            if oid in OWN_EXTENSIONS:
                own[oid] = value.value
            elif extension.critical:
                raise Malformed(f"critical extension {oid} is unknown")
        elif kind is x509.PrecertPoison:
            raise Malformed("it is a precertificate")
    return alternatives, own
