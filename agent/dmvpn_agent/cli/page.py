"""``page``: what operators see, in a browser."""

import asyncio
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from dataclasses import replace
from functools import partial
from pathlib import Path

from dmvpn_agent.config import values as parse
from dmvpn_agent.config.page import node_at, refuse_open, refuse_twice
from dmvpn_agent.config.page_file import PageConfig, load_page
from dmvpn_agent.page.settings import NodeSettings
from dmvpn_agent.page_app import PageApp
from dmvpn_agent.runtime import logs
from dmvpn_agent.runtime.descriptors import allow_many
from dmvpn_agent.runtime.endpoint import Endpoint
from dmvpn_agent.serve import serve


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("--listen", type=_endpoint, metavar="ADDRESS:PORT", help="in place of page.listen")
    parser.add_argument("--node", type=_node, action="append", default=[], metavar="NAME=URL",
                        help="show this node too: the URL of its page, or unix:PATH of a control socket; repeatable."
                        " One that asks for a token or a certificate needs a row of [[page.nodes]]")  # fmt: skip


def _endpoint(text: str) -> Endpoint:
    try:
        found = parse.endpoint.parse(text)
    except ValueError:
        found = None
    if found is None:
        raise ArgumentTypeError(f"{text!r} is no address and port; expected 127.0.0.1:19344")
    return found


def _node(text: str) -> NodeSettings:
    name, _, at = text.partition("=")
    try:
        return NodeSettings(parse.label.parse(name), node_at.parse(at))
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no node; expected NAME= and {node_at.expected}") from None


def run(arguments: Namespace) -> int:
    """Run the page until it is stopped; return the exit status. Raises ``ConfigError``."""
    allow_many()
    read = partial(_load, arguments)
    with logs.running():
        return asyncio.run(serve(PageApp, arguments.config, read))


def _load(arguments: Namespace, file: Path) -> PageConfig:
    """Return the configuration with the arguments. Raises ``ConfigError``."""
    config = load_page(file)
    listen, nodes = arguments.listen or config.page.listen, (*config.page.nodes, *arguments.node)
    page = replace(config.page, listen=listen, nodes=nodes)
    refuse_open(page)
    refuse_twice(page)
    return replace(config, page=page, control_socket=arguments.socket or config.control_socket)
