"""What each place in a certificate entitles to.

- Subject OUs, the Alpine guide's form: ``GRE=<protocol address>``, ``AS=<number>``, ``NET=<prefix>``, any number of
  each, in any order; ``Hubs`` for a hub. Other OUs are passed over.
- subjectAltName: IP addresses are protocol addresses.
- RFC 3779 extensions, under the OIDs of RFC 3779 or of RFC 8360.
- dmvpn-ca's private extensions: whether it is a hub (BOOLEAN), and where hubs are (SEQUENCE OF IA5String).
"""

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address

from cryptography import x509

from dmvpn_agent.core.model import Address, AsRange, Claim, Network, Resources, Role
from dmvpn_agent.wire.claims import MAX_CLAIMS, address, as_number, claim, is_plain, prefix, shown
from dmvpn_agent.wire.der import BOOLEAN, IA5_STRING, SEQUENCE, Malformed, boolean, elements, only
from dmvpn_agent.wire.rfc3779 import read_address_blocks, read_as_identifiers

ADDRESS_BLOCKS = ("1.3.6.1.5.5.7.1.7", "1.3.6.1.5.5.7.1.28")
AS_IDENTIFIERS = ("1.3.6.1.5.5.7.1.8", "1.3.6.1.5.5.7.1.29")
IS_HUB = "1.3.6.1.4.1.31536.1.1"
HUB_HOSTS = "1.3.6.1.4.1.31536.1.2"

#: The extensions that are read here and that cryptography does not know.
OWN_EXTENSIONS = frozenset({*ADDRESS_BLOCKS, *AS_IDENTIFIERS, IS_HUB, HUB_HOSTS})


#: How the OUs begin that name resources.
RESOURCE_UNITS = ("GRE=", "AS=", "NET=")


def from_units(units: Iterable[str]) -> Resources:
    """Read the subject's OUs."""
    addresses: list[Claim[Address]] = []
    numbers: list[Claim[AsRange]] = []
    prefixes: list[Claim[Network]] = []
    roles: list[Claim[Role]] = []
    for unit in units:
        key, _, text = unit.partition("=")
        if unit == "Hubs":
            roles.append(Claim("OU", unit, Role.HUB))
        elif unit == key:
            continue
        elif key == "GRE":
            addresses.append(claim("OU GRE", shown(unit), address, text))
        elif key == "AS":
            numbers.append(claim("OU AS", shown(unit), as_number, text))
        elif key == "NET":
            prefixes.append(claim("OU NET", shown(unit), prefix, text))
    return Resources(tuple(addresses), tuple(numbers), tuple(prefixes), tuple(roles))


def from_alternative_name(names: Iterable[x509.GeneralName]) -> Resources:
    """Read the IP addresses of a subjectAltName. Raises ``Malformed`` for too many."""
    addresses = tuple(_ip_address(name) for name in names if type(name) is x509.IPAddress)
    if len(addresses) > MAX_CLAIMS:
        raise Malformed(f"more than {MAX_CLAIMS} addresses in subjectAltName")
    return Resources(protocol_addresses=addresses)


def _ip_address(name: x509.IPAddress) -> Claim[Address]:
    value = name.value
    # Eight or 32 octets are an address with a mask, which only name constraints may have.
    if isinstance(value, IPv4Address | IPv6Address) and is_plain(value):
        return Claim("subjectAltName IP", str(value), value)
    return Claim("subjectAltName IP", str(value), None)


def from_rfc3779(extensions: Mapping[str, bytes]) -> Resources:
    """Read both RFC 3779 extensions. Raises ``Malformed`` where two versions of one say different things."""
    blocks, as_identifiers = _either(extensions, ADDRESS_BLOCKS), _either(extensions, AS_IDENTIFIERS)
    prefixes, inherited_families = ((), frozenset()) if blocks is None else read_address_blocks(blocks)
    numbers, inherited_numbers = ((), frozenset()) if as_identifiers is None else read_as_identifiers(as_identifiers)
    return Resources(as_numbers=numbers, prefixes=prefixes, inherits=inherited_families | inherited_numbers)


def _either(extensions: Mapping[str, bytes], oids: tuple[str, str]) -> bytes | None:
    first, second = (extensions.get(oid) for oid in oids)
    if first is not None and second is not None and first != second:
        raise Malformed(f"extensions {oids[0]} and {oids[1]} say different things")
    return second if first is None else first


def from_dmvpn_ca(extensions: Mapping[str, bytes]) -> Resources:
    """Read dmvpn-ca's word on whether this is a hub."""
    data = extensions.get(IS_HUB)
    if data is None:
        return Resources()
    try:
        role = Role.HUB if boolean(data, *only(data, 0, len(data), BOOLEAN)) else Role.SPOKE
    except Malformed as error:
        return Resources(roles=(Claim("dmvpn-ca hub", f"malformed: {error}", None),))
    return Resources(roles=(Claim("dmvpn-ca hub", "TRUE" if role is Role.HUB else "FALSE", role),))


def hub_hosts(extensions: Mapping[str, bytes]) -> tuple[str, ...]:
    """Return where dmvpn-ca says that hubs are, as it can be shown. Raises ``Malformed``."""
    data = extensions.get(HUB_HOSTS)
    if data is None:
        return ()
    hosts: list[str] = []
    for tag, start, stop in elements(data, *only(data, 0, len(data), SEQUENCE)):
        if tag != IA5_STRING or len(hosts) == MAX_CLAIMS:
            raise Malformed(f"extension {HUB_HOSTS} is no list of at most {MAX_CLAIMS} IA5Strings")
        hosts.append(shown(data[start:stop].decode("latin-1")))
    return tuple(hosts)
