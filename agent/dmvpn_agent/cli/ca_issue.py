"""``ca issue``: certificates for all nodes that need one."""

from argparse import ArgumentParser, Namespace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from dmvpn_agent.ca.delivery import Delivered, Delivery, Form, deliver
from dmvpn_agent.ca.errors import CaError
from dmvpn_agent.ca.issuing import latest_certificates
from dmvpn_agent.ca.reading import read_nodes
from dmvpn_agent.cli.ca_answer import Answer, add_common, add_passphrase, database_of, passphrase_of
from dmvpn_agent.runtime.clocks import utc_now

if TYPE_CHECKING:
    from argparse import _SubParsersAction


def add_actions(actions: "_SubParsersAction[ArgumentParser]") -> None:
    """Add the action of this module."""
    text = "Issue a bundle to every node without a certificate, or whose certificate expires soon."
    issuing = actions.add_parser("issue", help=text, description=text)
    add_common(issuing, _issue)
    add_passphrase(issuing)
    issuing.add_argument("--days", type=int, default=30, metavar="N",
                         help="renew certificates that expire within N days (default: %(default)s)")  # fmt: skip
    issuing.add_argument("folder", type=Path, metavar="FOLDER",
                         help="where NODE.pfx and NODE.password are written")  # fmt: skip


def _issue(arguments: Namespace) -> Answer:
    if not arguments.folder.is_dir():
        raise CaError(f"{arguments.folder} is not a directory", "create it first")
    database = database_of(arguments)
    limit = utc_now() + timedelta(days=arguments.days)
    with database.reading() as connection:
        latest = latest_certificates(connection)
        names = [
            node.name for node in read_nodes(connection)
            if (last := latest.get(node.id)) is None or (last.revoked_at is None and last.not_after < limit)
        ]  # fmt: skip
    passphrase = passphrase_of(arguments) if names else b""
    done: list[Delivered] = []
    for name in names:
        out = arguments.folder / name
        files = Delivery(Form.PFX, out.with_name(f"{name}.pfx"), None, out.with_name(f"{name}.password"))
        try:
            done.append(deliver(database, lambda _, name=name: str(name), files, passphrase, utc_now()))  # type: ignore[misc]
        except CaError as error:
            raise CaError(f"{name}: {error}", f"{len(done)} of {len(names)} nodes have their bundle") from error
    rows = [
        {"name": one.node.name, "serial": f"{one.certificate.serial_number:x}", "file": str(one.file)} for one in done
    ]
    return Answer({"issued": rows}, [f"{one.node.name:<12} {one.file}" for one in done] or ["no node needs one"])
