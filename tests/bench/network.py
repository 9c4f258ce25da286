"""A network of some ten thousand spokes, each with an address, an AS number and a prefix of its own."""

from dataclasses import replace
from ipaddress import IPv4Address, ip_network

from dmvpn_agent.addresses import AsRange
from factories import RULES, policy

LARGE = policy(
    replace(
        RULES,
        tunnel_networks=(ip_network("10.0.0.0/16"),),
        allowed_networks=(ip_network("10.128.0.0/9"),),
        as_ranges=(AsRange(4200000000, 4294967294),),
    )
)


def address(number: int) -> IPv4Address:
    """Return a spoke's protocol address."""
    return IPv4Address("10.0.0.1") + number


def units(number: int) -> tuple[str, ...]:
    """Return the OUs of a spoke's certificate."""
    prefix = IPv4Address("10.128.0.0") + (number << 8)
    return f"GRE={address(number)}", f"AS={4200000000 + number}", f"NET={prefix}/24"
