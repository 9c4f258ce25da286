"""``peers``: the list of all peers."""

import re
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from dmvpn_agent.cli.client import reads_answers, request, show
from dmvpn_agent.runtime.document import Exit
from dmvpn_agent.runtime.output import width
from dmvpn_agent.view.peers_text import peers_text
from dmvpn_agent.view.stage import Stage

_STAGES = list(Stage)
_SORTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "name": lambda peer: peer["name"],
    "stage": lambda peer: (_STAGES.index(Stage(peer["stage"])), peer["name"]),
    "since": lambda peer: (peer["since"] is None, peer["since"] or "", peer["name"]),
    "expires": lambda peer: (peer["certificate_expires"] is None, peer["certificate_expires"] or "", peer["name"]),
    "traffic": lambda peer: (-peer["traffic"]["bytes_in"] - peer["traffic"]["bytes_out"], peer["name"]),
    "flaps": lambda peer: (-peer["flaps"], peer["name"]),
}


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("--down", action="store_true", help="only peers that are not up")
    parser.add_argument("--stage", choices=[str(stage) for stage in Stage], metavar="STAGE",
                        help="only peers at this stage: %(choices)s")  # fmt: skip
    parser.add_argument("--sort", choices=sorted(_SORTS), default="name", help="the order (default: %(default)s)")
    parser.add_argument("--expiring", type=days, metavar="DAYS",
                        help="only peers whose certificate expires within DAYS: 30d, 4w")  # fmt: skip


def days(text: str) -> int:
    """Return a number of days. Raises ``ArgumentTypeError``."""
    if (found := re.fullmatch(r"([0-9]{1,5})([dw]?)", text)) is None:
        raise ArgumentTypeError(f"{text!r} is no span of days; expected 30d or 4w")
    return int(found[1]) * (7 if found[2] == "w" else 1)


@reads_answers
def run(arguments: Namespace) -> int:
    """Print the peers; return 1 if an expected one is not up. Raises ``RequestError`` and ``ConfigError``."""
    answer = request(arguments, "peers")
    peers = answer["data"]["peers"]
    missing = any(peer["expected"] != "no" and peer["stage"] != Stage.UP for peer in peers)
    chosen = [peer for peer in peers if _is_wanted(peer, arguments)]
    chosen.sort(key=_SORTS[arguments.sort])
    answer = {**answer, "data": {**answer["data"], "peers": chosen}}
    show(arguments, answer, lambda data: peers_text(data["peers"], datetime.now(UTC), width()))
    return Exit.DEGRADED if missing else Exit.HEALTHY


def _is_wanted(peer: dict[str, Any], arguments: Namespace) -> bool:
    left = peer["certificate_days_left"]
    return (
        (not arguments.down or peer["stage"] != Stage.UP)
        and (arguments.stage is None or peer["stage"] == arguments.stage)
        and (arguments.expiring is None or (left is not None and left < arguments.expiring))
    )
