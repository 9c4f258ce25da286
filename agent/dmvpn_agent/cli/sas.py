"""``sas``: the SAs with each peer, as the running agent last read them."""

from argparse import ArgumentParser, Namespace
from datetime import UTC, datetime
from typing import Any

from dmvpn_agent.cli.client import reads_answers, request, show
from dmvpn_agent.runtime.document import Exit
from dmvpn_agent.runtime.output import width
from dmvpn_agent.view.spans import short_span, size
from dmvpn_agent.view.table import fitting_columns, table

#: The columns that a narrow terminal has no room for, the first to go first.
_DROPPED = ("IKE", "ESP", "REKEY IN", "OUT", "IN", "NAT")
#: Columns that the identity needs before one of these is shown.
_IDENTITY = 30
HEADER = ("PEER", "NBMA", "STATE", "NAT", "UP", "REKEY IN", "IKE", "ESP", "IN", "OUT", "IDENTITY")


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("peers", nargs="*", metavar="PEER", help="names or addresses of peers (default: all)")


@reads_answers
def run(arguments: Namespace) -> int:
    """Print the SAs; return 1 if a named peer has none. Raises ``RequestError`` and ``ConfigError``."""
    answer = request(arguments, "sas", peers=arguments.peers or None)
    show(arguments, answer, lambda sas: render(sas, datetime.now(UTC), width()))
    return Exit.DEGRADED if arguments.peers and not answer["data"] else Exit.HEALTHY


def render(sas: list[dict[str, Any]], now: datetime, columns: int | None = None) -> str:
    """Return a table with a line for each IKE_SA; its traffic is the sum over its present CHILD_SAs."""
    if not sas:
        return "no SAs"
    rows = [_row(sa, now) for sa in sas]
    shown = fitting_columns(HEADER, rows, _DROPPED, columns, _IDENTITY)
    return table([HEADER[one] for one in shown], ([row[one] for one in shown] for row in rows), width=columns)


def _row(sa: dict[str, Any], now: datetime) -> tuple[str, ...]:
    children = sa["children"]
    newest = children[-1] if children else None
    encapsulated = any(child["udp_encapsulated"] for child in children)
    nat = "+".join(side for side in ("local", "remote") if sa[f"nat_{side}"])
    return (
        sa["peer"] or "-",
        f"{sa['remote_host']}:{sa['remote_port']}",
        ",".join([sa["state"].lower(), *(child["state"].lower() for child in children)]),
        (nat or "no") + (", ESP in UDP" if encapsulated else ""),
        short_span(sa["established_at"], now),
        short_span(newest["rekey_due"] if newest else None, now, 1),
        sa["algorithms"] or "-",
        newest["algorithms"] if newest and newest["algorithms"] else "-",
        size(sum(child["traffic"]["bytes_in"] for child in children)),
        size(sum(child["traffic"]["bytes_out"] for child in children)),
        sa["remote_id"],
    )
