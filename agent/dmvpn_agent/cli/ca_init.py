"""``ca init``, ``ca upgrade``: a registry, with the keys of the CA."""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.hashes import SHA256

from dmvpn_agent.addresses import AsRange
from dmvpn_agent.ca.authorities import CaAuthority, Lifetimes, issuing_authority, read_authorities
from dmvpn_agent.ca.creation import NewRegistry, change_settings, create_registry
from dmvpn_agent.ca.profile import Networks
from dmvpn_agent.ca.reading import read_settings
from dmvpn_agent.ca.settings import ResourcesIn, Settings
from dmvpn_agent.cli.arguments import typed
from dmvpn_agent.cli.ca_answer import (
    Answer,
    add_common,
    add_passphrase,
    as_number,
    as_range,
    database_of,
    network,
    passphrase_of,
)
from dmvpn_agent.runtime.clocks import utc_now

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_AS_NUMBERS = AsRange(4200000000, 4294967294)


def add_actions(actions: "_SubParsersAction[ArgumentParser]") -> None:
    """Add the actions of this module."""
    text = "Make a registry and the keys of the CA."
    init = actions.add_parser("init", help=text, description=text)
    add_common(init, _init)
    add_passphrase(init)
    _add_networks(init)
    _add_form(init)
    text = "Change settings of `ca init`, for certificates and CRLs that are made from now on."
    change = actions.add_parser("set", help=text, description=text)
    add_common(change, _set)
    _add_changeable(change)
    text = "Bring the registry's tables to this version of the program."
    add_common(actions.add_parser("upgrade", help=text, description=text), _upgrade)


def _add_networks(init: ArgumentParser) -> None:
    init.add_argument("--tunnel", type=network, action="append", default=[], metavar="NETWORK", required=True,
                      help="a network of protocol addresses, such as 10.255.0.0/24; may be repeated")  # fmt: skip
    init.add_argument("--sites", type=network, action="append", default=[], metavar="NETWORK",
                      help="a network to take the prefixes of sites from; may be repeated")  # fmt: skip
    numbers = init.add_mutually_exclusive_group()
    numbers.add_argument("--as-numbers", type=as_range, action="append", default=[], metavar="LOW-HIGH",
                         help=f"each site gets an AS number from this range (default: {_AS_NUMBERS})")  # fmt: skip
    numbers.add_argument("--as-number", type=as_number, metavar="NUMBER", help="all nodes have this AS number (iBGP)")
    init.add_argument("--hub-as-number", type=as_number, metavar="NUMBER",
                      help="the hubs' AS number (default: --as-number, or the first of --as-numbers)")  # fmt: skip


def _add_form(init: ArgumentParser) -> None:
    init.add_argument("--organization", default="O=DMVPN", metavar="NAME",
                      help="the start of all subjects, such as O=Example,C=FI (default: %(default)s)")  # fmt: skip
    init.add_argument("--resources-in", type=ResourcesIn, choices=list(ResourcesIn), default=ResourcesIn.SUBJECT,
                      help="where certificates have resources: in OUs of the subject, or in extensions as dmvpn-ca's"
                      " (default: %(default)s)")  # fmt: skip
    _add_changeable(init)
    init.add_argument("--issuing-ca", action="store_true", help="a second CA below the root issues the certificates")
    init.add_argument("--root-key", type=Path, metavar="FILE",
                      help="write the root's key to FILE, to be kept elsewhere, instead of the registry")  # fmt: skip
    init.add_argument("--bounded", action="store_true",
                      help="limit the CA's certificates to these networks (RFC 3779)")  # fmt: skip


def _add_changeable(parser: ArgumentParser) -> None:
    """Add what ``ca set`` can change; ``None`` for what is not named."""
    parser.add_argument("--hub-host", action="append", metavar="HOST",
                        help="address or DNS name of a hub; may be repeated")  # fmt: skip
    parser.add_argument("--crl-url", action="append", metavar="URL",
                        help="a URL from which nodes can fetch the CRL; may be repeated")  # fmt: skip
    parser.add_argument("--crl-directory", type=Path, metavar="FOLDER", help="the directory in which to publish CRLs")
    parser.add_argument("--crl-hours", type=_positive, metavar="N", help="how long a CRL is valid (default: 24)")
    parser.add_argument("--days", type=_positive, metavar="N",
                        help="how long a node's certificate is valid (default: 365)")  # fmt: skip


def _changed(settings: Settings, arguments: Namespace) -> Settings:
    named: dict[str, Any] = {
        "hub_hosts": None if arguments.hub_host is None else tuple(arguments.hub_host),
        "crl_urls": None if arguments.crl_url is None else tuple(arguments.crl_url),
        "crl_directory": None if arguments.crl_directory is None else str(arguments.crl_directory.absolute()),
        "crl_hours": arguments.crl_hours,
        "node_days": arguments.days,
    }
    return replace(settings, **{name: value for name, value in named.items() if value is not None})


def _read_positive(text: str) -> int:
    number = int(text)
    if not 0 < number < 100000:
        raise ValueError
    return number


_positive = typed(_read_positive, "a number from 1 to 99999")


def _init(arguments: Namespace) -> Answer:
    database = database_of(arguments)
    ranges = [] if arguments.as_number else arguments.as_numbers or [_AS_NUMBERS]
    settings = _changed(
        Settings(arguments.organization, arguments.resources_in, as_number=arguments.as_number), arguments
    )
    new = NewRegistry(
        settings,
        Networks(tuple(arguments.tunnel), tuple(arguments.sites), tuple(ranges)),
        hub_as=arguments.hub_as_number,
        with_issuing=arguments.issuing_ca,
        root_key=arguments.root_key,
        bounded=arguments.bounded,
        lifetimes=Lifetimes(),
    )
    create_registry(database, new, passphrase_of(arguments, twice=True), utc_now())
    with database.reading() as connection:
        authorities = read_authorities(connection)
    data = {"database": str(database), "authorities": [authority_json(one) for one in authorities]}
    return Answer(data, _made(str(database), authorities))


def authority_json(authority: CaAuthority) -> dict[str, object]:
    """Return a CA as JSON values."""
    certificate = authority.certificate
    return {
        "name": str(authority.name),
        "subject": certificate.subject.rfc4514_string(),
        "serial": f"{certificate.serial_number:x}",
        "sha256": certificate.fingerprint(SHA256()).hex(),
        "not_after": certificate.not_valid_after_utc.isoformat(),
        "key_in_registry": authority.key is not None,
    }


def _made(database: str, authorities: list[CaAuthority]) -> Iterator[str]:
    yield f"registry   {database}"
    for one in authorities:
        until = one.certificate.not_valid_after_utc
        yield f"{one.name:<10} {one.certificate.subject.rfc4514_string()}, until {until:%Y-%m-%d}"
        yield f"           SHA-256 {one.certificate.fingerprint(SHA256()).hex()}"
    yield "next       dmvpn-agent ca hub add"
    yield "           dmvpn-agent ca site add NAME --prefix NETWORK, then dmvpn-agent ca node add NAME"


def _upgrade(arguments: Namespace) -> Answer:
    database = database_of(arguments)
    changed = database.upgrade()
    with database.reading() as connection:
        issuing_authority(connection)
    return Answer({"changed": changed}, [f"{database}: {'upgraded' if changed else 'nothing to do'}"])


def _set(arguments: Namespace) -> Answer:
    with database_of(arguments).writing() as connection:
        before = read_settings(connection)
        settings = _changed(before, arguments)
        if settings != before:
            change_settings(connection, settings)
    data = asdict(settings)
    return Answer(data, (f"{name.replace('_', ' '):<14} {_text(value)}" for name, value in data.items()))


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else "none" if value in (None, "") else str(value)
