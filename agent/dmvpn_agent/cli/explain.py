"""``explain``: the resources in a certificate, each rule, the decision, and what would follow in FRR."""

from argparse import ArgumentParser, Namespace
from datetime import UTC, datetime
from pathlib import Path

from dmvpn_agent.cli.arguments import address, moment
from dmvpn_agent.cli.explain_groups import explain_groups
from dmvpn_agent.explain.certificate_input import InputError, read_certificate_argument
from dmvpn_agent.explain.context import load_context
from dmvpn_agent.explain.judging import Question, explain
from dmvpn_agent.explain.report_json import report_json
from dmvpn_agent.explain.report_text import report_text
from dmvpn_agent.migration import compare
from dmvpn_agent.migration.old_script import OldScript
from dmvpn_agent.policy.request import BindingType
from dmvpn_agent.runtime.document import Code, Exit, RequestError
from dmvpn_agent.runtime.output import say, say_json


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of the command."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--compare", type=Path, metavar="FOLDER",
                      help="compare the decision with an old script's, for each certificate in FOLDER")  # fmt: skip
    what.add_argument("certificate", nargs="?", metavar="CERT", help="a file in PEM, DER or hexadecimal; `-` for"
                      " standard input; hexadecimal text; `none` for a peer without a certificate")  # fmt: skip
    what.add_argument("--from", dest="sender", type=address, metavar="A",
                      help="which rule of policy.groups decides about packets from A; with --to B")  # fmt: skip
    parser.add_argument("--to", dest="receiver", type=address, metavar="B", help="for --from")
    parser.add_argument("--address", type=address, metavar="A",
                        help="protocol address (default: each one in the certificate)")  # fmt: skip
    parser.add_argument("--nbma", type=address, metavar="N", help="NBMA address of the peer")
    parser.add_argument("--interface", metavar="I", help="tunnel interface (default: the first one configured)")
    parser.add_argument("--type", default=str(BindingType.DYNAMIC), choices=[str(one) for one in BindingType],
                        help="type of the binding (default: %(default)s)")  # fmt: skip
    parser.add_argument("--identity", metavar="IKE_ID", help="IKE identity that has an IKE_SA with the NBMA address")
    parser.add_argument("--at", type=moment, metavar="TIME", help="time in ISO 8601, UTC without an offset"
                        " (default: now)")  # fmt: skip
    parser.add_argument("--script", choices=[str(one) for one in OldScript], default=str(OldScript.GUIDE),
                        help="the old script, for --compare (default: %(default)s)")  # fmt: skip


def run(arguments: Namespace) -> int:
    """Explain one certificate, or compare many; return the exit status.

    Raises ``ConfigError`` and ``RequestError``.
    """
    question = Question(
        at=arguments.at or datetime.now(UTC).replace(microsecond=0),
        address=arguments.address,
        nbma_address=arguments.nbma,
        interface=arguments.interface,
        binding_type=BindingType(arguments.type),
        identity=arguments.identity,
    )
    if arguments.sender:
        if arguments.receiver is None:
            raise RequestError(Code.USAGE, "--from needs --to, the other address")
        return explain_groups(arguments.config, arguments.sender, arguments.receiver, as_json=arguments.json)
    if arguments.compare:
        return compare.run(arguments.compare, OldScript(arguments.script), question, arguments.config, arguments.json)
    return _explain(arguments.certificate, question, arguments.config, arguments.json)


def _explain(word: str, question: Question, config: Path, as_json: bool) -> int:
    context = load_context(config)
    try:
        given = read_certificate_argument(word)
    except InputError as error:
        raise RequestError(Code.USAGE, str(error)) from error
    report = explain(given, question, context)
    if as_json:
        say_json("explain/1", report_json(report))
    else:
        say(report_text(report))
    return Exit.HEALTHY if report.accepted else Exit.DEGRADED
