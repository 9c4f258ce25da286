"""``ca list``, ``ca show``: what the registry has."""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from dmvpn_agent.ca.allocation import pools
from dmvpn_agent.ca.answers_text import answers_text
from dmvpn_agent.ca.authorities import issuing_authority, read_authorities
from dmvpn_agent.ca.bundle import chain_pem
from dmvpn_agent.ca.errors import CaError
from dmvpn_agent.ca.files import write_file
from dmvpn_agent.ca.issuing import IssuedCertificate, certificates_of, latest_certificates
from dmvpn_agent.ca.profile import Networks
from dmvpn_agent.ca.reading import (
    find_node,
    find_site,
    has_site,
    read_audit,
    read_holdings,
    read_nodes,
    read_settings,
    read_sites,
)
from dmvpn_agent.cli.ca_answer import Answer, add_common, database_of
from dmvpn_agent.cli.ca_init import authority_json
from dmvpn_agent.cli.ca_nodes import NODE_HELP, node_json, site_json
from dmvpn_agent.runtime.clocks import utc_now
from dmvpn_agent.view.table import table

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_AUDIT_LINES = 50


def add_actions(actions: "_SubParsersAction[ArgumentParser]") -> None:
    """Add the actions of this module."""
    text = "List nodes, sites, given blocks, pools, CAs, or the audit log."
    listing = actions.add_parser("list", help=text, description=text)
    add_common(listing, _list)
    listing.add_argument("what", nargs="?", choices=list(_LISTS), default="nodes", help="what (default: %(default)s)")
    text = "Show a site, or a node with its certificates."
    show = actions.add_parser("show", help=text, description=text)
    add_common(show, _show)
    show.add_argument("name", metavar="NAME", help="a site or a node, such as FIN or FIN-1")
    text = "Print the answers file that `setup` needs for a node besides its bundle."
    answers = actions.add_parser("answers", help=text, description=text)
    add_common(answers, _answers)
    answers.add_argument("node", metavar="NODE", help=NODE_HELP)
    text = "Print the rows of [[peers.expected]] for a node: of a hub all other nodes, of a spoke the hubs."
    peers = actions.add_parser("expected", help=text, description=text)
    add_common(peers, _expected)
    peers.add_argument("node", metavar="NODE", help=NODE_HELP)
    text = "Write the CA's certificates, in PEM, for policy.ca_certificates and swanctl/x509ca."
    certificates = actions.add_parser("certificates", help=text, description=text)
    add_common(certificates, _certificates)
    certificates.add_argument("--out", type=Path, metavar="FOLDER", required=True,
                              help="the directory; one file for each CA, as charon needs")  # fmt: skip


def _list(arguments: Namespace) -> Answer:
    with database_of(arguments).reading() as connection:
        rows, header = _LISTS[arguments.what](connection)
    data = {arguments.what: rows}
    return Answer(data, table(header, (_cells(row, header) for row in rows)).split("\n"))


def _cells(row: dict[str, Any], header: Sequence[str]) -> list[str]:
    values = [row[name.lower().replace(" ", "_")] for name in header]
    return [", ".join(map(str, one)) if isinstance(one, list) else str(one) for one in values]


_Listing = tuple[list[dict[str, Any]], tuple[str, ...]]


def _list_nodes(connection: Connection) -> _Listing:
    latest = latest_certificates(connection)
    now = utc_now()
    rows = [{**node_json(node), "certificate": _state(latest.get(node.id), now)} for node in read_nodes(connection)]
    return rows, ("NAME", "ROLE", "ADDRESSES", "AS NUMBER", "PREFIXES", "CERTIFICATE")


def _state(certificate: IssuedCertificate | None, now: datetime) -> str:
    if certificate is None:
        return "none"
    if certificate.revoked_at is not None:
        return "on hold" if certificate.reason == "certificateHold" else f"revoked {certificate.revoked_at:%Y-%m-%d}"
    return f"{'expired' if certificate.not_after < now else 'until'} {certificate.not_after:%Y-%m-%d}"


def _list_sites(connection: Connection) -> _Listing:
    return [site_json(site) for site in read_sites(connection)], ("NAME", "AS NUMBER", "PREFIXES", "NODES")


def _list_holdings(connection: Connection) -> _Listing:
    rows = [
        {"kind": str(one.block.kind), "block": str(one.block), "owner": one.owner or one.note}
        for one in read_holdings(connection)
    ]
    return rows, ("KIND", "BLOCK", "OWNER")


def _list_pools(connection: Connection) -> _Listing:
    return [{"kind": str(one.kind), "pool": str(one)} for one in pools(connection)], ("KIND", "POOL")


def _list_audit(connection: Connection) -> _Listing:
    rows = [
        {"at": f"{one.at:%Y-%m-%d %H:%M:%S}", "operator": one.operator, "action": one.action, "detail": one.detail}
        for one in read_audit(connection, _AUDIT_LINES)
    ]
    return rows, ("AT", "OPERATOR", "ACTION", "DETAIL")


def _list_authorities(connection: Connection) -> _Listing:
    return [authority_json(one) for one in read_authorities(connection)], ("NAME", "SUBJECT", "NOT AFTER", "SHA256")


_LISTS = {
    "nodes": _list_nodes,
    "sites": _list_sites,
    "holdings": _list_holdings,
    "pools": _list_pools,
    "authorities": _list_authorities,
    "audit": _list_audit,
}


def _show(arguments: Namespace) -> Answer:
    with database_of(arguments).reading() as connection:
        if has_site(connection, arguments.name):
            site = find_site(connection, arguments.name)
            return Answer(site_json(site), _lines(site_json(site)))
        node = find_node(connection, arguments.name)
        certificates = certificates_of(connection, node.id)
    now = utc_now()
    rows = [
        {
            "serial": f"{one.serial:x}",
            "subject": one.subject,
            "not_before": one.not_before.isoformat(),
            "not_after": one.not_after.isoformat(),
            "state": _state(one, now),
            "reason": one.reason,
        }
        for one in certificates
    ]
    lines = [*_lines(node_json(node)), "", *table(("SERIAL", "STATE", "SUBJECT"),
             ((row["serial"], row["state"], row["subject"]) for row in rows)).split("\n")]  # fmt: skip
    return Answer({**node_json(node), "certificates": rows}, lines)


def _lines(values: dict[str, Any]) -> Iterator[str]:
    for name, value in values.items():
        text = ", ".join(map(str, value)) if isinstance(value, list) else value
        yield f"{name.replace('_', ' '):<12} {text}"


def _answers(arguments: Namespace) -> Answer:
    with database_of(arguments).reading() as connection:
        node, settings = find_node(connection, arguments.node), read_settings(connection)
        text = answers_text(node, Networks.of_pools(pools(connection)), settings)
    return Answer({"node": node.name, "answers": text}, text.splitlines())


def _expected(arguments: Namespace) -> Answer:
    with database_of(arguments).reading() as connection:
        node, nodes = find_node(connection, arguments.node), read_nodes(connection)
        latest = latest_certificates(connection)
    now = utc_now()
    rows = [
        {"name": one.name, "protocol_address": str(one.addresses[0])}
        for one in nodes
        if one.name != node.name and (node.is_hub or one.is_hub) and _is_valid(latest.get(one.id), now)
    ]
    texts = ("\n".join(("[[peers.expected]]", *(f'{key} = "{value}"' for key, value in row.items()))) for row in rows)
    return Answer({"node": node.name, "expected": rows}, "\n\n".join(texts).split("\n"))


def _is_valid(certificate: IssuedCertificate | None, now: datetime) -> bool:
    return certificate is not None and certificate.revoked_at is None and now <= certificate.not_after


def _certificates(arguments: Namespace) -> Answer:
    with database_of(arguments).reading() as connection:
        chain = issuing_authority(connection).chain
    files = []
    if not arguments.out.is_dir():
        raise CaError(f"{arguments.out} is not a directory", "create it first")
    for number, certificate in enumerate(reversed(chain)):
        path = arguments.out / ("dmvpn-root-ca.pem" if number == 0 else "dmvpn-issuing-ca.pem")
        write_file(path, chain_pem((certificate,)), mode=0o644, replace=True)
        files.append(str(path))
    return Answer({"files": files}, files)
