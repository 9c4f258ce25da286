"""X.509 to the values the policy looks at.

The Alpine guide's form: subject OUs ``GRE=<protocol address>``, ``AS=<number>``, ``NET=<prefix>``, any number each.
The signature was verified by charon, which hands over only the certificates of peers it authenticated; here the
certificate is untrusted text all the same.
"""

import hashlib
import re
from collections.abc import Callable
from ipaddress import ip_address, ip_network

from cryptography import x509
from cryptography.x509.oid import NameOID

from dmvpn_agent.core.model import Address, BadCertificate, Certificate, Claim, Network, T_co

MAX_CERTIFICATE_BYTES = 64 * 1024
MAX_CLAIMS = 1000
MAX_SHOWN = 200

_DECIMAL = re.compile(r"0|[1-9][0-9]{0,9}")


def read_certificate(der: bytes) -> Certificate | BadCertificate:
    """Read a DER certificate; whatever is wrong with it, the answer is a value and no exception."""
    if len(der) > MAX_CERTIFICATE_BYTES:
        return BadCertificate(f"longer than {MAX_CERTIFICATE_BYTES} bytes")
    try:
        return _read(der)
    except Exception as error:
        return BadCertificate(f"not readable: {shown(str(error) or type(error).__name__)}")


def _read(der: bytes) -> Certificate | BadCertificate:
    certificate = x509.load_der_x509_certificate(der)
    units = [str(item.value) for item in certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)]
    if len(units) > MAX_CLAIMS:
        return BadCertificate(f"more than {MAX_CLAIMS} OUs")
    return Certificate(
        fingerprint=hashlib.sha256(der).hexdigest(),
        subject=shown(_subject(certificate), 1000),
        serial=certificate.serial_number,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        protocol_addresses=_claims(units, "GRE", _address),
        as_numbers=_claims(units, "AS", _as_number),
        prefixes=_claims(units, "NET", _prefix),
        der=der,
    )


def _subject(certificate: x509.Certificate) -> str:
    """Return the subject in the order of the certificate, as charon's log and swanctl have it."""
    return ", ".join(f"{item.rfc4514_attribute_name}={item.value!s}" for item in certificate.subject)


def _claims(units: list[str], key: str, parse: Callable[[str], T_co]) -> tuple[Claim[T_co], ...]:
    claims = []
    for unit in units:
        name, equals, text = unit.partition("=")
        if not equals or name != key:
            continue
        value: T_co | None
        try:
            value = parse(text)
        except ValueError:
            value = None
        claims.append(Claim(f"OU {key}", f"{key}={shown(text)}", value))
    return tuple(claims)


def _address(text: str) -> Address:
    address = ip_address(text)
    if str(address) != text.lower() or getattr(address, "scope_id", None):
        raise ValueError("not in canonical form")
    return address


def _as_number(text: str) -> int:
    if not _DECIMAL.fullmatch(text) or not 0 < (number := int(text)) < 2**32 - 1:
        raise ValueError("not an AS number")
    return number


def _prefix(text: str) -> Network:
    network = ip_network(text, strict=True)
    if str(network) != text.lower():
        raise ValueError("not in canonical form")
    return network


def shown(text: str, longest: int = MAX_SHOWN) -> str:
    """Return text from outside as it can be shown: control and non-ASCII characters escaped, cut to ``longest``."""
    escaped = "".join(
        char if " " <= char <= "~" else char.encode("unicode_escape").decode() for char in text[: longest + 1]
    )
    return escaped if len(escaped) <= longest else escaped[: longest - 1] + "…"
