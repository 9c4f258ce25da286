"""``ca backup|restore``, ``ca import``, ``ca import-dmvpn-ca``: a registry from and into files."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from dmvpn_agent.ca.authorities import change_passphrase
from dmvpn_agent.ca.backup import MAX_BACKUP_BYTES, backup, restore
from dmvpn_agent.ca.csv_import import COLUMNS, import_rows, read_rows
from dmvpn_agent.ca.dmvpn_ca import OldConfiguration, read_old_configuration, read_old_database
from dmvpn_agent.ca.dmvpn_ca_import import import_dmvpn_ca
from dmvpn_agent.ca.files import read_input, write_file
from dmvpn_agent.ca.passphrase import PassphraseSource, read_passphrase
from dmvpn_agent.cli.ca_answer import Answer, add_common, add_passphrase, database_of, network, passphrase_of

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_MAX_CSV_BYTES = 64 << 20


def add_actions(actions: "_SubParsersAction[ArgumentParser]") -> None:
    """Add the actions of this module."""
    text = "Write the whole registry into a file; the CA's keys in it stay encrypted."
    saving = actions.add_parser("backup", help=text, description=text)
    add_common(saving, _backup)
    saving.add_argument("file", type=Path, metavar="FILE", help="the file to write")
    text = "Encrypt the CA's keys in the registry with another passphrase."
    changing = actions.add_parser("passphrase", help=text, description=text)
    add_common(changing, _passphrase)
    add_passphrase(changing)
    changing.add_argument("--new-passphrase-file", type=Path, metavar="FILE",
                          help="the new passphrase is the first line of FILE (default: what you type)")  # fmt: skip
    text = "Make a registry from a backup, in either kind of database."
    restoring = actions.add_parser("restore", help=text, description=text)
    add_common(restoring, _restore)
    restoring.add_argument("file", type=Path, metavar="FILE", help="what `ca backup` wrote")
    text = f"Add sites and nodes from a CSV table with the columns {','.join(COLUMNS)}."
    importing = actions.add_parser("import", help=text, description=text)
    add_common(importing, _import)
    importing.add_argument("file", type=Path, metavar="FILE", help="the table")
    text = "Make a registry from dmvpn-ca's database: the same CA, sites, nodes and certificates."
    old = actions.add_parser("import-dmvpn-ca", help=text, description=text)
    add_common(old, _import_dmvpn_ca)
    add_passphrase(old)
    old.add_argument("file", type=Path, metavar="FILE", help="dmvpn-ca's database, /var/lib/misc/dmvpn-ca.sqlite3")
    old.add_argument("--conf", type=Path, metavar="FILE", help="dmvpn-ca's configuration, /etc/dmvpn-ca.conf")
    old.add_argument("--tunnel", type=network, action="append", default=[], metavar="NETWORK",
                     help="a network of GRE addresses (default: derived from the addresses)")  # fmt: skip
    old.add_argument("--old-password-file", type=Path, metavar="FILE", help="dmvpn-ca's password (db.encrypt-keys)")


def _passphrase(arguments: Namespace) -> Answer:
    old = passphrase_of(arguments)
    new = read_passphrase(PassphraseSource(file=arguments.new_passphrase_file), twice=True, environment={})
    with database_of(arguments).writing() as connection:
        changed = change_passphrase(connection, old, new)
    return Answer({"changed": changed}, [f"changed      {' '.join(changed)}; backups still have the former one"])


def _backup(arguments: Namespace) -> Answer:
    data = backup(database_of(arguments))
    write_file(arguments.file, data, mode=0o600)
    return Answer({"file": str(arguments.file), "bytes": len(data)}, [f"written      {arguments.file}"])


def _restore(arguments: Namespace) -> Answer:
    data = read_input(arguments.file, "the backup", MAX_BACKUP_BYTES)
    database = database_of(arguments)
    rows = restore(database, data)
    return Answer({"database": str(database), "rows": rows}, [
        f"restored     {database}: {rows['node']} nodes, {rows['certificate']} certificates",
        "next         revoke again what was revoked since the backup, then dmvpn-agent ca crl",
    ])  # fmt: skip


def _import(arguments: Namespace) -> Answer:
    rows = read_rows(read_input(arguments.file, "the table", _MAX_CSV_BYTES))
    with database_of(arguments).writing() as connection:
        names = import_rows(connection, rows)
    return Answer({"nodes": names}, [f"imported     {len(names)} nodes from {len(rows)} lines",
                                     "next         dmvpn-agent ca issue FOLDER"])  # fmt: skip


def _import_dmvpn_ca(arguments: Namespace) -> Answer:
    configuration = OldConfiguration()
    if arguments.conf:
        configuration = read_old_configuration(read_input(arguments.conf, "dmvpn-ca's configuration"))
    old = read_old_database(arguments.file, configuration)
    password = None
    if arguments.old_password_file:
        password = read_passphrase(PassphraseSource(file=arguments.old_password_file))
    database, passphrase = database_of(arguments), passphrase_of(arguments, twice=True)
    made = import_dmvpn_ca(database, old, configuration, tuple(arguments.tunnel), password, passphrase)
    tunnels = [str(one) for one in made.networks.tunnels]
    data = {"nodes": list(made.nodes), "certificates": made.certificates, "tunnel_networks": tunnels}
    return Answer(data, [
        f"imported     {len(made.nodes)} nodes, {made.certificates} certificates into {database}",
        f"tunnel       {', '.join(tunnels)}   (if this is wrong, remove the registry and give them with --tunnel)",
        "next         dmvpn-agent ca crl --directory FOLDER; and no longer use dmvpn-ca",
    ])  # fmt: skip
