"""``ca revoke|hold|release``, ``ca crl``: revoked certificates, and the CRLs that list them."""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dmvpn_agent.ca.authorities import CaAuthority, read_authorities, unlock
from dmvpn_agent.ca.crls import MadeCrl, latest_crl, lifetime_of, make_crl, publish_latest, why_due
from dmvpn_agent.ca.files import read_input, write_file
from dmvpn_agent.ca.metrics_text import metrics_text
from dmvpn_agent.ca.reading import find_node, read_settings
from dmvpn_agent.ca.revocation import Reason, release, revoke
from dmvpn_agent.ca.settings import Settings
from dmvpn_agent.cli.ca_answer import Answer, add_common, add_passphrase, database_of, passphrase_of
from dmvpn_agent.cli.ca_nodes import NODE_HELP
from dmvpn_agent.runtime.clocks import utc_now

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from sqlalchemy import Connection


def add_actions(actions: "_SubParsersAction[ArgumentParser]") -> None:
    """Add the actions of this module."""
    revoking = _node_action(actions, "revoke", "Revoke all certificates of a node, for good, and publish a CRL.")
    revoking.add_argument("--reason", type=Reason, choices=[one for one in Reason if one is not Reason.HOLD],
                          default=Reason.UNSPECIFIED, help="why (default: %(default)s)")  # fmt: skip
    revoking.set_defaults(action=lambda arguments: _change(arguments, arguments.reason))
    hold = _node_action(actions, "hold", "Revoke a node's certificates until `ca release`, and publish a CRL.")
    hold.set_defaults(action=lambda arguments: _change(arguments, Reason.HOLD))
    freeing = _node_action(actions, "release", "Take back `ca hold`, and publish a CRL.")
    freeing.set_defaults(action=lambda arguments: _change(arguments, None))
    text = "Make new CRLs and publish them."
    crl = actions.add_parser("crl", help=text, description=text)
    add_common(crl, _crl)
    add_passphrase(crl)
    crl.add_argument("--if-due", action="store_true", help="only if half of the latest CRL's lifetime is over, or"
                     " certificates were revoked since then; for a timer")  # fmt: skip
    crl.add_argument("--directory", type=Path, metavar="FOLDER",
                     help="where to publish them (default: set by `ca init`)")  # fmt: skip
    crl.add_argument("--root-key", type=Path, metavar="FILE",
                     help="the root's key, as `ca init --root-key` wrote it: make the root's CRL too")  # fmt: skip
    crl.add_argument("--metrics", type=Path, metavar="FILE",
                     help="write the registry's metrics there, for node_exporter's textfile collector")  # fmt: skip


def _node_action(actions: "_SubParsersAction[ArgumentParser]", name: str, text: str) -> ArgumentParser:
    parser = actions.add_parser(name, help=text, description=text)
    add_common(parser, _crl)
    add_passphrase(parser)
    parser.add_argument("node", metavar="NODE", help=NODE_HELP)
    return parser


def _change(arguments: Namespace, reason: Reason | None) -> Answer:
    now = utc_now()
    database, passphrase = database_of(arguments), passphrase_of(arguments)
    with database.writing() as connection:
        node = find_node(connection, arguments.node)
        if reason is None:
            serials = release(connection, node.id, node.name, now)
        else:
            serials = revoke(connection, node.id, node.name, reason, now)
        settings = read_settings(connection)
        made = [
            _made(connection, one, settings, passphrase)
            for one in read_authorities(connection)
            if one.issues_to_nodes
        ]
    files = publish_latest(database)
    word = "released" if reason is None else "revoked"
    lines = [f"{word:<12} {node.name}: {' '.join(serials)}", *_crl_lines(made, files)]
    return Answer({"node": node.name, word: serials, **_crl_json(made, files)}, lines)


def _crl(arguments: Namespace) -> Answer:
    database, now = database_of(arguments), utc_now()
    root_key = read_input(arguments.root_key, "the root's key").decode("latin-1") if arguments.root_key else None
    with database.reading() as connection:
        known = [replace(one, key=one.key or root_key) for one in read_authorities(connection)]
        authorities = [one for one in known if one.key is not None and one.signs_crls]
        wanted = [one for one in authorities if not arguments.if_due or why_due(connection, one, now)]
    made = []
    if wanted:
        passphrase = passphrase_of(arguments)
        with database.writing() as connection:
            settings = read_settings(connection)
            made = [_made(connection, one, settings, passphrase) for one in wanted]
    files = publish_latest(database, arguments.directory)
    with database.reading() as connection:
        text = metrics_text(connection, utc_now())
        current = [last for one in read_authorities(connection) if (last := latest_crl(connection, one))]
    if arguments.metrics:
        write_file(arguments.metrics, text.encode(), mode=0o644, replace=True)
    return Answer(_crl_json(current, files), [] if arguments.if_due and not made else _crl_lines(made, files))


def _made(connection: "Connection", authority: CaAuthority, settings: Settings, passphrase: bytes) -> MadeCrl:
    now = utc_now()
    return make_crl(connection, unlock(authority, passphrase, now), lifetime_of(authority, settings), now)


def _crl_json(made: list[MadeCrl], files: list[Path]) -> dict[str, Any]:
    rows = [
        {"authority": str(one.authority), "number": one.number, "next_update": one.next_update.isoformat()}
        for one in made
    ]
    return {"crls": rows, "files": [str(path) for path in files]}


def _crl_lines(made: list[MadeCrl], files: list[Path]) -> Iterator[str]:
    for one in made:
        yield f"CRL          {one.authority}: number {one.number}, until {one.next_update:%Y-%m-%d %H:%M} UTC"
    yield from (f"published    {path}" for path in files)
    if not files:
        yield "published    in no folder; name one: --directory, or `ca set --crl-directory`; `ca serve` serves it"
