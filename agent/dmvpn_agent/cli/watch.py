"""``watch``: the peers, live; or what happens, as it happens."""

import asyncio
import json
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from datetime import UTC, datetime
from pathlib import Path

from dmvpn_agent.cli.client import no_answer, reads_answers, refusal, request, show, socket_path
from dmvpn_agent.runtime.control_client import follow
from dmvpn_agent.runtime.output import clear_screen, say_lines, width
from dmvpn_agent.view.peers_text import peers_text
from dmvpn_agent.view.stage import Stage


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("--events", action="store_true", help="print one JSON document a line for each decision,"
                        " change and move")  # fmt: skip
    parser.add_argument("--interval", type=_interval, default=2.0, metavar="SECONDS",
                        help="between two looks (default: %(default)s)")  # fmt: skip
    parser.add_argument("--down", action="store_true", help="only peers that are not up")


def _interval(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0.5 <= seconds <= 3600:
        raise ArgumentTypeError(f"{text!r} is no interval; expected seconds, from 0.5 to 3600")
    return seconds


@reads_answers
def run(arguments: Namespace) -> int:
    """Print until interrupted. Raises ``RequestError`` and ``ConfigError``."""
    if arguments.events:
        path = socket_path(arguments)
        asyncio.run(_events(path))
        raise no_answer(path, OSError("the agent ended the stream"))
    while True:
        answer = request(arguments, "peers")
        if arguments.down:
            answer["data"]["peers"] = [one for one in answer["data"]["peers"] if one["stage"] != Stage.UP]
        if not arguments.json:
            clear_screen()
            say_lines(
                [f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC, {_counts(answer)}; every {arguments.interval:g} s"]
            )
        show(arguments, answer, lambda data: peers_text(data["peers"], datetime.now(UTC), width()))
        time.sleep(arguments.interval)


def _counts(answer: dict[str, dict[str, dict[str, int]]]) -> str:
    counts = answer["data"]["counts"]
    return f"{counts['up']} of {counts['total']} peers up, {counts['expected_up']} of {counts['expected']} expected"


async def _events(path: Path) -> None:
    try:
        async for one in follow(path, "events"):
            if one["ok"] is not True:
                raise refusal(one)
            say_lines([json.dumps(one)])
    except (OSError, TimeoutError, ValueError) as error:
        raise no_answer(path, error) from error
