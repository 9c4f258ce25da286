"""``ca token``, ``ca serve``: nodes that get their certificates by themselves."""

import asyncio
import signal
from argparse import ArgumentParser, Namespace
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.hashes import SHA256

from dmvpn_agent.ca.authorities import issuing_authority
from dmvpn_agent.ca.errors import CaError
from dmvpn_agent.ca.profile import general_name
from dmvpn_agent.ca.reading import find_node
from dmvpn_agent.ca.tokens import make_token
from dmvpn_agent.cli.arguments import typed
from dmvpn_agent.cli.ca_answer import Answer, add_common, add_passphrase, database_of, passphrase_of
from dmvpn_agent.cli.ca_nodes import NODE_HELP
from dmvpn_agent.enrolment.settings import ServeSettings
from dmvpn_agent.runtime.clocks import Clocks, utc_now
from dmvpn_agent.runtime.endpoint import Endpoint
from dmvpn_agent.runtime.owner_rights import become

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from dmvpn_agent.enrolment.server import EnrolmentServer


def add_actions(actions: "_SubParsersAction[ArgumentParser]") -> None:
    """Add the actions of this module."""
    text = "Make a token by which a node can get one certificate from `ca serve`."
    token = actions.add_parser("token", help=text, description=text)
    add_common(token, _token)
    token.add_argument("node", metavar="NODE", help=NODE_HELP)
    token.add_argument("--hours", type=_hours, default=24, metavar="N",
                       help="how long it can be used (default: %(default)s)")  # fmt: skip
    text = "Serve enrolment, renewal (EST), CRLs and CA certificates until it is stopped; make CRLs in time."
    serve = actions.add_parser("serve", help=text, description=text)
    add_common(serve, _serve)
    add_passphrase(serve)
    serve.add_argument("--listen", type=_endpoint, default=Endpoint("0.0.0.0", 8443), metavar="ADDRESS:PORT",  # noqa: S104
                       help="where EST is served, by TLS (default: %(default)s)")  # fmt: skip
    serve.add_argument("--http", type=_endpoint, metavar="ADDRESS:PORT",
                       help="where CRLs and CA certificates are served without TLS (default: nowhere)")  # fmt: skip
    serve.add_argument("--name", action="append", default=[], metavar="HOST",
                       help="an address or DNS name by which nodes reach the server, for the certificate that the CA"
                       " gives it; also several times")  # fmt: skip
    serve.add_argument("--tls-certificate", type=Path, metavar="FILE",
                       help="use this certificate (PEM) for TLS instead")  # fmt: skip
    serve.add_argument("--tls-key", type=Path, metavar="FILE", help="its key (PEM)")
    serve.add_argument("--scep", action="store_true",
                       help="serve SCEP too, for routers without EST; it also works by --http")  # fmt: skip
    serve.add_argument("--rate", type=int, choices=range(1, 10001), default=30, metavar="N",
                       help="requests of one address in a minute (default: %(default)s)")  # fmt: skip
    serve.add_argument("--metrics-listen", type=_endpoint, metavar="ADDRESS:PORT",
                       help="where metrics are served (default: nowhere)")  # fmt: skip


def _read_hours(text: str) -> int:
    number = int(text)
    if not 0 < number <= 8784:
        raise ValueError
    return number


def _read_endpoint(text: str) -> Endpoint:
    host, _, port = text.rpartition(":")
    found = Endpoint(str(ip_address(host.removeprefix("[").removesuffix("]"))), int(port))
    if not 0 < found.port < 65536:
        raise ValueError
    return found


_hours = typed(_read_hours, "a number of hours from 1 to 8784")
_endpoint = typed(_read_endpoint, "an address and a port, such as 0.0.0.0:8443 or [::]:8443")


def _token(arguments: Namespace) -> Answer:
    lifetime, now = timedelta(hours=arguments.hours), utc_now()
    with database_of(arguments).writing() as connection:
        node = find_node(connection, arguments.node)
        token = make_token(connection, node, lifetime, now)
        root = issuing_authority(connection).chain[-1].fingerprint(SHA256()).hex()
    until = now + lifetime
    data = {"node": node.name, "token": token, "until": until.isoformat(), "ca_sha256": root}
    command = f"dmvpn-agent setup --enrol URL --token-file FILE --ca-fingerprint {root}"
    return Answer(data, [f"node         {node.name}", f"token        {token}   (shown only now; it is used once)",
                         f"until        {until:%Y-%m-%d %H:%M} UTC", f"CA           SHA-256 {root}",
                         f"on the node  {command}",
                         "             FILE: with the token in its first line, for root only"])  # fmt: skip


def _serve(arguments: Namespace) -> Answer:
    from dmvpn_agent.enrolment.server import EnrolmentServer  # noqa: PLC0415  the other actions do not need it
    from dmvpn_agent.runtime import logs  # noqa: PLC0415

    settings = _settings(arguments)
    database, passphrase = database_of(arguments), passphrase_of(arguments)
    with database.rights():  # they can be had, and with them the program can be read
        pass
    become(database.owner)
    server = EnrolmentServer(database, passphrase, settings, Clocks())
    with logs.running():
        asyncio.run(_run(server))
    return Answer({"stopped": True}, [])


def _settings(arguments: Namespace) -> ServeSettings:
    has_files = (arguments.tls_certificate is not None, arguments.tls_key is not None)
    if has_files not in {(True, True), (False, False)}:
        raise CaError("certificate and key belong together", "name both --tls-certificate and --tls-key")
    if not arguments.name and (arguments.scep or not any(has_files)):
        raise CaError("the server has no name that its certificate could have",
                      "name it as nodes reach it: --name ca.example.com; or name --tls-certificate")  # fmt: skip
    for name in arguments.name:
        general_name(name)
    return ServeSettings(
        https=arguments.listen,
        http=arguments.http,
        names=tuple(arguments.name),
        certificate=arguments.tls_certificate,
        key=arguments.tls_key,
        scep=arguments.scep,
        per_minute=arguments.rate,
        metrics=arguments.metrics_listen,
    )


async def _run(server: "EnrolmentServer") -> None:
    from dmvpn_agent.runtime.service_manager import notify_ready  # noqa: PLC0415

    loop, stopping, again = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    loop.add_signal_handler(signal.SIGHUP, again.set)
    try:
        server.start()
        notify_ready()
        keeping = asyncio.create_task(server.run(again))
        await stopping.wait()
        keeping.cancel()
    except OSError as error:
        raise CaError(str(error)) from error
    finally:
        server.stop()
