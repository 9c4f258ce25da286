"""Reads the resources that each source in a certificate names.

- Subject OUs, the Alpine guide's form: ``GRE=<protocol address>``, ``AS=<number>``, ``NET=<prefix>``, any number of
  each, in any order; ``Hubs`` for a hub. Other OUs are ignored.
- subjectAltName: IP addresses are protocol addresses.
- RFC 3779 extensions, under the OIDs of RFC 3779 or of RFC 8360.
- dmvpn-ca's private extensions: whether the peer is a hub (BOOLEAN), and the hubs' hosts (SEQUENCE OF IA5String).
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address

from cryptography import x509

from dmvpn_agent.addresses import Address, AsRange, Network
from dmvpn_agent.x509.certificate import Claim, Resources, Role
from dmvpn_agent.x509.claims import MAX_CLAIMS, MAX_ESCAPED, address, as_number, claim, escaped, is_plain, prefix
from dmvpn_agent.x509.der import IA5_STRING, SEQUENCE, Malformed, decode, parts
from dmvpn_agent.x509.rfc3779 import read_address_blocks, read_as_identifiers

ADDRESS_BLOCKS = ("1.3.6.1.5.5.7.1.7", "1.3.6.1.5.5.7.1.28")
AS_IDENTIFIERS = ("1.3.6.1.5.5.7.1.8", "1.3.6.1.5.5.7.1.29")
IS_HUB = "1.3.6.1.4.1.31536.1.1"
HUB_HOSTS = "1.3.6.1.4.1.31536.1.2"

#: The extensions that are read here, because cryptography does not know them.
OWN_EXTENSIONS = frozenset({*ADDRESS_BLOCKS, *AS_IDENTIFIERS, IS_HUB, HUB_HOSTS})


#: The beginnings of OUs that name resources.
RESOURCE_UNITS = ("GRE=", "AS=", "NET=")
#: The OU of hubs.
HUBS = "Hubs"

_LIKE_A_RESOURCE = re.compile(r"(gre|as|net) *[=:]")

#: The two BOOLEANs in DER.
_BOOLEANS = {b"\x01\x01\xff": ("TRUE", Role.HUB), b"\x01\x01\x00": ("FALSE", Role.SPOKE)}


def from_units(units: Iterable[str]) -> Resources:
    """Read the subject's OUs."""
    addresses: list[Claim[Address]] = []
    numbers: list[Claim[AsRange]] = []
    prefixes: list[Claim[Network]] = []
    roles: list[Claim[Role]] = []
    for unit in units:
        key, _, text = unit.partition("=")
        if unit == HUBS:
            roles.append(Claim("OU", unit, Role.HUB))
        elif unit == key:
            continue
        elif key == "GRE":
            addresses.append(claim("OU GRE", _quoted(unit), address, text))
        elif key == "AS":
            numbers.append(claim("OU AS", _quoted(unit), as_number, text))
        elif key == "NET":
            prefixes.append(claim("OU NET", _quoted(unit), prefix, text))
    return Resources(tuple(addresses), tuple(numbers), tuple(prefixes), tuple(roles))


def lookalikes(units: Iterable[str]) -> tuple[Claim[str], ...]:
    """Return the OUs that look like a resource and do not count, each with the form that would count.

    OUs are compared exactly; these differ in case, in look-alike characters, in white space or by a colon.
    """
    found = ((unit, _looks_like(unit)) for unit in units if unit != HUBS and not unit.startswith(RESOURCE_UNITS))
    return tuple(Claim("OU", f'"{escaped(unit)}"', like) for unit, like in found if like is not None)


def _looks_like(unit: str) -> str | None:
    plain = unicodedata.normalize("NFKC", unit).casefold()
    plain = "".join(char for char in plain if unicodedata.category(char) not in {"Cc", "Cf"}).strip()
    if plain in {"hubs", "hub"}:
        return HUBS
    named = _LIKE_A_RESOURCE.match(plain)
    return f"{named[1].upper()}=" if named else None


def _quoted(unit: str) -> str:
    """Return an OU for display, in quotes if it has white space around it."""
    return escaped(unit) if unit == unit.strip() else f'"{escaped(unit)}"'


def from_alternative_name(names: Iterable[x509.GeneralName]) -> Resources:
    """Read the IP addresses of a subjectAltName. Raises ``Malformed`` for too many."""
    addresses = tuple(_ip_address(name) for name in names if type(name) is x509.IPAddress)
    if len(addresses) > MAX_CLAIMS:
        raise Malformed(f"more than {MAX_CLAIMS} addresses in subjectAltName")
    return Resources(protocol_addresses=addresses)


def _ip_address(name: x509.IPAddress) -> Claim[Address]:
    value = name.value
    # Eight or 32 octets are an address with a mask, which belongs only in name constraints.
    if isinstance(value, IPv4Address | IPv6Address) and is_plain(value):
        return Claim("subjectAltName IP", str(value), value)
    return Claim("subjectAltName IP", str(value), None)


def from_rfc3779(extensions: Mapping[str, bytes]) -> Resources:
    """Read both RFC 3779 extensions. Raises ``Malformed`` if two versions of one differ."""
    blocks, as_identifiers = _either(extensions, ADDRESS_BLOCKS), _either(extensions, AS_IDENTIFIERS)
    prefixes, inherited_families = ((), frozenset()) if blocks is None else read_address_blocks(blocks)
    numbers, inherited_numbers = ((), frozenset()) if as_identifiers is None else read_as_identifiers(as_identifiers)
    return Resources(as_numbers=numbers, prefixes=prefixes, inherits=inherited_families | inherited_numbers)


def _either(extensions: Mapping[str, bytes], oids: tuple[str, str]) -> bytes | None:
    first, second = (extensions.get(oid) for oid in oids)
    if first is not None and second is not None and first != second:
        raise Malformed(f"extensions {oids[0]} and {oids[1]} differ")
    return second if first is None else first


def from_dmvpn_ca(extensions: Mapping[str, bytes]) -> Resources:
    """Read dmvpn-ca's extension that marks hubs."""
    data = extensions.get(IS_HUB)
    if data is None:
        return Resources()
    if data in _BOOLEANS:
        text, role = _BOOLEANS[data]
        return Resources(roles=(Claim("dmvpn-ca hub", text, role),))
    return Resources(roles=(Claim("dmvpn-ca hub", escaped(f"malformed: {data[:MAX_ESCAPED].hex()}"), None),))


def hub_hosts(extensions: Mapping[str, bytes]) -> tuple[str, ...]:
    """Return the hubs' hosts from dmvpn-ca's extension, for display. Raises ``Malformed``."""
    data = extensions.get(HUB_HOSTS)
    if data is None:
        return ()
    hosts = parts(decode(data), SEQUENCE)
    if len(hosts) > MAX_CLAIMS or any(tag != IA5_STRING for tag, _, _ in hosts):
        raise Malformed(f"extension {HUB_HOSTS} is not a list of at most {MAX_CLAIMS} IA5Strings")
    return tuple(escaped(host.decode("latin-1")) for _, host, _ in hosts)
