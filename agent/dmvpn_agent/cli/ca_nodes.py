"""``ca hub|site|node|prefix|pool``, ``ca renew``: who is in the network, and their certificates."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from dmvpn_agent.ca.allocation import add_pool
from dmvpn_agent.ca.audit import record
from dmvpn_agent.ca.block import Block, Kind, parse_as_range, parse_network
from dmvpn_agent.ca.delivery import Delivered, Delivery, Form, deliver
from dmvpn_agent.ca.errors import CaError
from dmvpn_agent.ca.node import HUBS, Node
from dmvpn_agent.ca.reading import Site, find_node, find_site, read_settings
from dmvpn_agent.ca.revocation import Reason, revoke, supersede
from dmvpn_agent.ca.sites import (
    NewNode,
    NewSite,
    add_node,
    add_prefix,
    add_site,
    refuse_common_name,
    remove_node,
    remove_prefix,
    remove_site,
)
from dmvpn_agent.cli.arguments import address
from dmvpn_agent.cli.ca_answer import (
    Answer,
    add_common,
    add_passphrase,
    as_number,
    database_of,
    network,
    passphrase_of,
)
from dmvpn_agent.runtime.clocks import utc_now

if TYPE_CHECKING:
    from argparse import _SubParsersAction

SITE_HELP, NODE_HELP = "the site's name, such as FIN", "the node's name, such as FIN-1; `ca list` shows all"
_POOLS = {"tunnel": Kind.ADDRESS, "site": Kind.PREFIX, "as": Kind.AS_NUMBER}


def add_actions(actions: "_SubParsersAction[ArgumentParser]") -> None:
    """Add the actions of this module."""
    hub = _group(actions, "hub", "Add or remove a hub.")
    _add_node_action(hub, "Add a hub, with a certificate.", _add_hub)
    _add_sites(_group(actions, "site", "Add or remove a site."))
    node = _group(actions, "node", "Add or remove a router of a site.")
    _add_node_action(node, "Add a router to a site, with a certificate.", _add_node).add_argument(
        "site", metavar="SITE", help=SITE_HELP
    )
    for group in (node, hub):
        remove = _action(group, "remove", "Revoke a node's certificates, and free its addresses.", _remove_node)
        remove.add_argument("node", metavar="NODE", help=NODE_HELP)
    prefix = _group(actions, "prefix", "Give a site another prefix, or take one away; then renew its nodes.")
    for word, act in (("add", add_prefix), ("remove", remove_prefix)):
        change = _action(prefix, word, f"{word.capitalize()} a prefix of a site.", _prefix_change(act))
        change.add_argument("site", metavar="SITE", help=SITE_HELP)
        change.add_argument("prefix", type=network, metavar="PREFIX", help="a network, such as 10.1.0.0/16")
    pool = _action(
        _group(actions, "pool", "Add a pool."), "add", "Add a network or AS numbers that can be given.", _add_pool
    )
    pool.add_argument("kind", choices=list(_POOLS), help="what it is for: protocol addresses, prefixes of sites, AS"
                      " numbers")  # fmt: skip
    pool.add_argument("pool", metavar="NETWORK|LOW-HIGH", help="a network, or for AS numbers a range as 64512-65534")
    renew = _action(actions, "renew", "Issue a new certificate to a node; the present one stays valid.", _renew)
    renew.add_argument("node", metavar="NODE", help=NODE_HELP)
    renew.add_argument(
        "--revoke-others", action="store_true", help="revoke the node's other certificates (superseded)"
    )
    _add_delivery(renew)


def _group(actions: "_SubParsersAction[ArgumentParser]", name: str, text: str) -> "_SubParsersAction[ArgumentParser]":
    group = actions.add_parser(name, help=text, description=text)
    return group.add_subparsers(required=True, metavar="ACTION")


def _action(
    actions: "_SubParsersAction[ArgumentParser]", name: str, text: str, act: Callable[[Namespace], Answer]
) -> ArgumentParser:
    parser = actions.add_parser(name, help=text, description=text)
    add_common(parser, act)
    return parser


def _add_sites(site: "_SubParsersAction[ArgumentParser]") -> None:
    add = _action(site, "add", "Add a site, with its prefixes and its AS number.", _add_site)
    add.add_argument("site", metavar="NAME", help="its name, such as FIN; its routers are FIN-1, FIN-2")
    add.add_argument("--prefix", type=network, action="append", default=[], metavar="NETWORK",
                     help="a prefix of the site; may be repeated")  # fmt: skip
    add.add_argument("--prefix-length", type=int, action="append", default=[], metavar="N",
                     help="a free IPv4 prefix of this length; may be repeated")  # fmt: skip
    add.add_argument("--prefix-length-ipv6", type=int, action="append", default=[], metavar="N",
                     help="a free IPv6 prefix of this length; may be repeated")  # fmt: skip
    add.add_argument("--as-number", type=as_number, metavar="NUMBER", help="its AS number (default: a free one)")
    remove = _action(site, "remove", "Remove a site without nodes, and free its prefixes.", _remove_site)
    remove.add_argument("site", metavar="NAME", help=SITE_HELP)


def _add_node_action(
    actions: "_SubParsersAction[ArgumentParser]", text: str, act: Callable[[Namespace], Answer]
) -> ArgumentParser:
    add = _action(actions, "add", text, act)
    add.add_argument("--address", type=address, action="append", default=[], metavar="ADDRESS",
                     help="its protocol address; may be repeated (default: free ones)")  # fmt: skip
    add.add_argument("--as-number", type=as_number, metavar="NUMBER", help="its AS number (default: the site's)")
    add.add_argument("--common-name", metavar="CN", help="the CN of its certificates (default: its name)")
    add.add_argument(
        "--no-certificate", action="store_true", help="add it to the registry only, and issue its certificate later"
    )
    _add_delivery(add)
    return add


def _add_delivery(parser: ArgumentParser) -> None:
    add_passphrase(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        "--csr", type=Path, metavar="FILE", help="certify the key of this request (PKCS #10, PEM or DER)"
    )
    form.add_argument("--pem", action="store_true", help="write key and certificates in PEM, not encrypted")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the file to write (default: NODE.pfx or NODE.pem)")
    parser.add_argument("--password-file", type=Path, metavar="FILE",
                        help="write the bundle's password there, and do not show it")  # fmt: skip


def _add_hub(arguments: Namespace) -> Answer:
    return _new_node(arguments, HUBS)


def _add_node(arguments: Namespace) -> Answer:
    return _new_node(arguments, arguments.site)


def _new_node(arguments: Namespace, site: str) -> Answer:
    def prepare(connection: Connection) -> str:
        if arguments.common_name is not None:
            refuse_common_name(connection, site, arguments.common_name)
        new = NewNode(tuple(arguments.address), arguments.as_number, common_name=arguments.common_name)
        return add_node(connection, site, new)

    if not arguments.no_certificate:
        return _delivered(arguments, prepare)
    with database_of(arguments).writing() as connection:
        node = find_node(connection, prepare(connection))
    return Answer(node_json(node), _node_lines(node))


def _renew(arguments: Namespace) -> Answer:
    answer = _delivered(arguments, lambda _: str(arguments.node))
    if not arguments.revoke_others:
        return answer
    with database_of(arguments).writing() as connection:
        node = find_node(connection, arguments.node)
        revoked = supersede(connection, node.id, int(answer.data["certificate"]["serial"], 16), utc_now())
    lines = [*answer.lines, f"revoked      {' '.join(revoked) or 'none'}; `dmvpn-agent ca crl` publishes it"]
    return Answer({**answer.data, "revoked": revoked}, lines)


def _delivered(arguments: Namespace, prepare: Callable[[Connection], str]) -> Answer:
    form = Form.REQUEST if arguments.csr else Form.PEM if arguments.pem else Form.PFX
    if arguments.password_file and form is not Form.PFX:
        raise CaError("only a PFX file has a password", "leave out --password-file")
    delivery = Delivery(form, arguments.out, arguments.csr, arguments.password_file)
    delivered = deliver(database_of(arguments), prepare, delivery, passphrase_of(arguments), utc_now())
    certificate = {
        "serial": f"{delivered.certificate.serial_number:x}",
        "not_after": delivered.certificate.not_valid_after_utc.isoformat(),
    }
    data = {
        **node_json(delivered.node),
        "certificate": certificate,
        "file": str(delivered.file),
        "password": delivered.password,
        "password_file": delivered.password_file,
    }
    return Answer(data, _delivered_lines(delivered))


def _delivered_lines(delivered: Delivered) -> Iterator[str]:
    yield from _node_lines(delivered.node)
    certificate = delivered.certificate
    yield f"certificate  serial {certificate.serial_number:x}, until {certificate.not_valid_after_utc:%Y-%m-%d}"
    yield f"file         {delivered.file}"
    if delivered.password is not None:
        yield f"password     {delivered.password}   (shown only now; send it by another way than the file)"
    elif delivered.password_file is not None:
        yield f"password     in {delivered.password_file}"
    name = delivered.node.name
    if delivered.password is not None or delivered.password_file is not None:
        yield f"next         on the node: dmvpn-agent setup {delivered.file.name}"
    yield f"answers      dmvpn-agent ca answers {name} >FILE: the CA's networks and hubs, for setup --answers FILE"


def node_json(node: Node) -> dict[str, Any]:
    """Return a node as JSON values."""
    return {
        "name": node.name,
        "site": node.site,
        "common_name": node.common_name,
        "role": "hub" if node.is_hub else "spoke",
        "addresses": [str(one) for one in node.addresses],
        "as_number": node.as_number,
        "prefixes": [str(one) for one in node.prefixes],
    }


def _node_lines(node: Node) -> Iterator[str]:
    yield f"{'hub' if node.is_hub else 'node':<12} {node.name}"
    yield f"address      {', '.join(map(str, node.addresses))}"
    yield f"AS number    {node.as_number}"
    if not node.is_hub:
        yield f"prefixes     {', '.join(map(str, node.prefixes)) or 'none'}"


def _add_site(arguments: Namespace) -> Answer:
    lengths = [*((4, one) for one in arguments.prefix_length), *((6, one) for one in arguments.prefix_length_ipv6)]
    for version, length in lengths:
        if not 0 < length <= (32 if version == 4 else 128):
            raise CaError(f"/{length} is not a length of an IPv{version} prefix", "use another one")
    new = NewSite(arguments.site, tuple(arguments.prefix), tuple(lengths), arguments.as_number)
    with database_of(arguments).writing() as connection:
        add_site(connection, new, read_settings(connection).as_number)
        site = find_site(connection, new.name)
    return Answer(site_json(site), _site_lines(site))


def site_json(site: Site) -> dict[str, Any]:
    """Return a site as JSON values."""
    return {
        "name": site.name,
        "as_number": site.as_number,
        "prefixes": [str(one) for one in site.prefixes],
        "nodes": list(site.nodes),
    }


def _site_lines(site: Site) -> Iterator[str]:
    yield f"site         {site.name}"
    yield f"AS number    {site.as_number}"
    yield f"prefixes     {', '.join(map(str, site.prefixes)) or 'none'}"
    yield f"next         dmvpn-agent ca node add {site.name}"


def _remove_site(arguments: Namespace) -> Answer:
    with database_of(arguments).writing() as connection:
        remove_site(connection, arguments.site)
    return Answer({"removed": arguments.site}, [f"removed      {arguments.site}"])


def _remove_node(arguments: Namespace) -> Answer:
    now = utc_now()
    with database_of(arguments).writing() as connection:
        node = find_node(connection, arguments.node)
        revoked = revoke(connection, node.id, node.name, Reason.CESSATION, now, required=False)
        remove_node(connection, node.id, node.name)
    data = {"removed": node.name, "revoked": revoked}
    lines = [f"removed      {node.name}", f"revoked      {' '.join(revoked) or 'none'}"]
    return Answer(data, [*lines, "next         dmvpn-agent ca crl"] if revoked else lines)


def _prefix_change(act: Callable[[Connection, str, Any], None]) -> Callable[[Namespace], Answer]:
    def change(arguments: Namespace) -> Answer:
        with database_of(arguments).writing() as connection:
            act(connection, arguments.site, arguments.prefix)
            site = find_site(connection, arguments.site)
        renew = [f"next         dmvpn-agent ca renew {node}" for node in site.nodes]
        return Answer(site_json(site), [*list(_site_lines(site))[:3], *renew])

    return change


def _add_pool(arguments: Namespace) -> Answer:
    kind = _POOLS[arguments.kind]
    try:
        if kind is Kind.AS_NUMBER:
            block = Block.of_as_numbers(parse_as_range(arguments.pool))
        else:
            block = Block.of_network(kind, parse_network(arguments.pool))
    except ValueError as error:
        raise CaError(f"{arguments.pool!r:.60} cannot be a pool: {error}", "name a network, or AS numbers") from error
    with database_of(arguments).writing() as connection:
        add_pool(connection, block)
        record(connection, "pool add", f"{arguments.kind} {block}")
    return Answer({"kind": arguments.kind, "pool": str(block)}, [f"added        {block}"])
