"""``sas``: the SAs with each peer, as the running agent last read them."""

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

from dmvpn_agent.cli.arguments import add_json, add_socket
from dmvpn_agent.cli.status import print_state
from dmvpn_agent.runtime.printable import printable_values
from dmvpn_agent.view.table import table

HEADER = ("PEER", "NBMA", "STATE", "NAT", "UP", "REKEY IN", "IKE", "ESP", "IN", "OUT", "IDENTITY")
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_json(parser)
    add_socket(parser)
    parser.add_argument("address", nargs="*", type=ip_address, metavar="ADDRESS",
                        help="NBMA or protocol address of a peer (default: all peers)")  # fmt: skip


def run(arguments: Namespace) -> int:
    """Print the SAs with the peers in question; return the exit status. Raises ``ConfigError``."""
    addresses = {str(address) for address in arguments.address}

    def text(state: dict[str, Any]) -> str:
        if arguments.json:
            return json.dumps(list(select(state, addresses)), indent=2)
        shown = printable_values(state)
        return render(list(select(shown, addresses)), datetime.now(UTC), shown["charon"]["connected"])

    return print_state(arguments.socket, arguments.config, text)


def select(state: dict[str, Any], addresses: set[str]) -> Iterator[dict[str, Any]]:
    """Yield the IKE_SAs with the peers of these NBMA or protocol addresses, or all IKE_SAs.

    Each has the peer's protocol addresses.
    """
    peers: dict[str, list[str]] = {}
    for peer in state["peers"]:
        peers.setdefault(peer["nbma_address"], []).append(peer["protocol_address"])
    for sa in state["charon"]["ike_sas"]:
        own = peers.get(sa["remote_host"], [])
        if not addresses or addresses & {sa["remote_host"], *own}:
            yield {"protocol_addresses": own, **sa}


def render(sas: list[dict[str, Any]], now: datetime, connected: bool) -> str:
    """Return a table with a line for each IKE_SA; its traffic is the sum over its present CHILD_SAs."""
    if not connected:
        return "NOT CONNECTED to charon"
    return table(HEADER, (_row(sa, now) for sa in sas)) if sas else "no SAs"


def _row(sa: dict[str, Any], now: datetime) -> tuple[str, ...]:
    children = sa["children"]
    newest = children[-1] if children else None
    encapsulated = any(child["udp_encapsulated"] for child in children)
    nat = "+".join(side for side in ("local", "remote") if sa[f"nat_{side}"])
    return (
        ",".join(sa["protocol_addresses"]) or "-",
        f"{sa['remote_host']}:{sa['remote_port']}",
        ",".join([sa["state"].lower(), *(child["state"].lower() for child in children)]),
        (nat or "no") + (", ESP in UDP" if encapsulated else ""),
        _span(sa["established_at"], now, -1),
        _span(newest["rekey_due"] if newest else None, now, 1),
        sa["algorithms"] or "-",
        newest["algorithms"] if newest and newest["algorithms"] else "-",
        _size(sum(child["traffic"]["bytes_in"] for child in children)),
        _size(sum(child["traffic"]["bytes_out"] for child in children)),
        sa["remote_id"],
    )


def _span(moment: str | None, now: datetime, sign: int) -> str:
    """Return the time until (``sign`` 1) or since (-1) a moment; negative if the moment is on the other side."""
    if moment is None:
        return "-"
    seconds = round(sign * (datetime.fromisoformat(moment) - now).total_seconds())
    minus, seconds = ("-" if seconds < 0 else ""), abs(seconds)
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{minus}{days}d{hours}h"
    if hours:
        return f"{minus}{hours}h{minutes}m"
    return f"{minus}{minutes}m{seconds % 60}s"


def _size(count: float) -> str:
    for unit in _UNITS[:-1]:
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} {_UNITS[-1]}"
