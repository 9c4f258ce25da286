"""``setup``: makes this machine a node of a DMVPN, from one file; or puts everything back."""

import asyncio
import getpass
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from dmvpn_agent.config.table import ConfigError
from dmvpn_agent.runtime import logs
from dmvpn_agent.runtime.document import Code
from dmvpn_agent.runtime.file_input import read_file_input
from dmvpn_agent.runtime.output import OutputError, complain, discard, report_failure, say, say_lines
from dmvpn_agent.setup.answers import Answers, parse_answer, read_answers
from dmvpn_agent.setup.bundle import (
    MAX_BUNDLE_BYTES,
    Bundle,
    Enrolled,
    WrongPassphrase,
    passphrase_in_name,
    read_bundle,
    read_router_certificate,
)
from dmvpn_agent.setup.choose import choose
from dmvpn_agent.setup.disk import failure_text
from dmvpn_agent.setup.enrol import KEY_FOLDER, Enrolment, enrol, forget_key, parse_server
from dmvpn_agent.setup.ios import ANY_ROUTER, STYLES, parse_interface, router_text
from dmvpn_agent.setup.journal import JournalUnreadable
from dmvpn_agent.setup.machine import MachineError
from dmvpn_agent.setup.objections import machine_refusals
from dmvpn_agent.setup.paths import CERTIFICATE, EST_CA, KEY, authority_path
from dmvpn_agent.setup.plan_text import diff_text, steps_text, values_text
from dmvpn_agent.setup.refusal import Refusal, Refused
from dmvpn_agent.setup.system import Manager, System
from dmvpn_agent.setup.workflow import Prepared, Setup, unanswered

if TYPE_CHECKING:
    from dmvpn_agent.setup.verdict import Verdict

EXIT_WORKS, EXIT_NOT, EXIT_REFUSED = 0, 1, 2
_NOT_STARTED = "the files are in place; nothing was started: the same command without --no-start does that"
_NO_MANAGER = """\
the files are in place; nothing was started, because no service manager runs here
next: start the programs in the order of the note above, with the users, groups and capabilities of the units that
      `dmvpn-agent example systemd` prints; then `dmvpn-agent doctor`"""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("bundle", nargs="?", type=Path, metavar="BUNDLE", help="the node's key, certificate and CA:"
                        " PKCS #12 (.pfx) or PEM")  # fmt: skip
    parser.add_argument("--enrol", metavar="URL", help="in place of BUNDLE: make the key here, and get the"
                        " certificate from the CA's EST server, with a token; without one: go on with the certificate"
                        " that is here")  # fmt: skip
    parser.add_argument("--token", metavar="TOKEN", help="with --enrol: what `dmvpn-agent ca token NODE` printed")
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="the same: the first line of FILE")
    parser.add_argument("--ca-fingerprint", default="", metavar="SHA256", help="with --enrol: the fingerprint of the"
                        " CA's certificate")  # fmt: skip
    parser.add_argument("--ca", type=Path, metavar="FILE", help="with --enrol: the CAs of the server's TLS"
                        " certificate, in PEM, in place of the fingerprint")  # fmt: skip
    parser.add_argument("--passphrase-file", type=Path, metavar="FILE", help="the first line of FILE is the"
                        " bundle's passphrase; /dev/fd/N for a file descriptor (default: ask)")  # fmt: skip
    parser.add_argument("--answers", type=Path, metavar="FILE", help="TOML: values that setup is not to find out by"
                        " itself (docs/setup.md)")  # fmt: skip
    parser.add_argument("--yes", action="store_true", help="ask nothing")
    parser.add_argument("--dry-run", action="store_true", help="show what would change, and change nothing")
    parser.add_argument("--no-start", action="store_true", help="write the files, and start nothing")
    parser.add_argument("--wait", type=float, default=90.0, metavar="SECONDS", help="how long to wait until the node"
                        " works (default: %(default)g)")  # fmt: skip
    parser.add_argument("--for", dest="router", choices=["cisco-ios"], help="print the configuration of a router with"
                        " this certificate, and change nothing")  # fmt: skip
    parser.add_argument("--style", choices=STYLES, default=STYLES[0], help="with --for: how (default: %(default)s)")
    parser.add_argument("--interface", default="GigabitEthernet1", metavar="NAME", help="with --for: the"
                        " router's uplink (default: %(default)s)")  # fmt: skip
    parser.add_argument("--undo", action="store_true", help="put back everything that setup changed")


def run(arguments: Namespace) -> int:
    """Set the node up, or undo it; return the exit status."""
    logs.set_up_for_command()
    setup = Setup(_progress)
    try:
        if arguments.router:
            return _router(arguments)
        if os.geteuid() != 0:  # who could not even read what there is
            raise Refused(*machine_refusals(System(root=False)))
        return asyncio.run(_undo(setup, arguments) if arguments.undo else _set_up(setup, arguments))
    except Refused as refused:
        _print_refusals(refused, arguments.json)
        return EXIT_REFUSED
    except ConfigError as error:
        report_failure(Code.USAGE, f"{arguments.answers}: {error}", arguments.json)
        return EXIT_REFUSED
    except BrokenPipeError:
        discard(sys.stdout)
        return EXIT_NOT
    except (OSError, MachineError, JournalUnreadable) as error:
        unfinished = "; setup is unfinished: run it again, or `dmvpn-agent setup --undo`" if setup.has_run else ""
        report_failure(Code.FAILED, f"setup: {failure_text(error)}{unfinished}", arguments.json)
        return EXIT_NOT


def _progress(line: str) -> None:
    """Print what setup does. A reader that has gone, as in ``setup … | head``, does not stop it half-way."""
    try:
        say_lines([f"  {line}"])
    except (BrokenPipeError, OutputError):
        discard(sys.stdout)


def _print_refusals(refused: Refused, as_json: bool) -> None:
    if as_json:
        report_failure(Code.REFUSED, f"{refused}; nothing was changed", as_json)
        return
    for refusal in refused.refusals:
        complain(f"FAULT: {refusal.what}")
        complain(f"  found     {refusal.found}")
        complain(f"  expected  {refusal.expected}")
        complain(f"  do        {refusal.do}")
    complain("dmvpn-agent: setup: nothing was changed")


def _router(arguments: Namespace) -> int:
    """Print a router's configuration."""
    bundle, answers = _bundle(arguments, read_router_certificate), _answers(arguments)
    choice = choose(bundle, ANY_ROUTER, answers)
    if choice.node is None:
        raise Refused(*choice.refusals, *map(unanswered, choice.questions))
    say(router_text(choice.node, bundle, arguments.style, parse_interface(arguments.interface)))
    return EXIT_WORKS


def _answers(arguments: Namespace) -> Answers:
    return read_answers(_read(arguments.answers)) if arguments.answers else Answers()


async def _set_up(setup: Setup, arguments: Namespace) -> int:
    answers = _answers(arguments)
    system = await setup.observe()
    if found := machine_refusals(system, start=not arguments.no_start):
        raise Refused(*found)
    bundle = await _enrolled(arguments) if arguments.enrol else _bundle(arguments, read_bundle)
    if not arguments.yes:
        answers = _ask(bundle, system, answers)
    prepared = setup.prepare(bundle, system, answers, start=not arguments.no_start)
    _show(prepared)
    say_lines(f"note: {line}" for line in await setup.unresolved(prepared.node))
    if arguments.dry_run or (prepared.plan.steps and not arguments.yes and not _agrees()):
        say("nothing was changed")
        if bundle.enrolled and arguments.enrol and KEY_FOLDER.exists():
            say(f"the CA has issued the certificate: the token is good for the key in {KEY_FOLDER} only")
        return EXIT_WORKS if arguments.dry_run else EXIT_NOT
    await setup.apply(prepared)
    if arguments.enrol:
        forget_key()
    if arguments.no_start or system.services.manager is Manager.NONE:
        say(_NOT_STARTED if arguments.no_start else _NO_MANAGER)
        return EXIT_WORKS
    from dmvpn_agent.setup.verdict import reach_verdict  # noqa: PLC0415  the doctor's imports take long

    verdict = await reach_verdict(prepared.config, arguments.wait, _progress)
    _print_verdict(verdict)
    return EXIT_WORKS if verdict.works else EXIT_NOT


async def _enrolled(arguments: Namespace) -> Bundle:
    """Enrol, and return the bundle. Raises ``Refused`` and ``OSError``."""
    if arguments.bundle is not None:
        raise Refused(Refusal("the bundle", f"{arguments.bundle} and --enrol", "one of them", "leave one out"))
    token = arguments.token or ""
    if arguments.token_file:
        token = _read(arguments.token_file).decode(errors="replace").split("\n")[0].strip()
    if not token and Path(CERTIFICATE).exists():
        return replace(_installed(), enrolled=Enrolled(parse_server(arguments.enrol).text, _present(EST_CA)))
    authorities = _read(arguments.ca) if arguments.ca else b""
    enrolment = Enrolment.parse(arguments.enrol, token, authorities, arguments.ca_fingerprint)
    return await enrol(enrolment, datetime.now(UTC))


def _installed() -> Bundle:
    """Return the bundle of the key, certificate and CAs that an earlier run has put in place. Raises ``Refused``."""
    parts = (_read(Path(KEY)), _read(Path(CERTIFICATE)), *(_present(authority_path(number)) for number in range(8)))
    return read_bundle(b"".join(parts), None, datetime.now(UTC))


def _present(path: str) -> bytes:
    return _read(Path(path)) if Path(path).exists() else b""


def _bundle(arguments: Namespace, reader: Callable[[bytes, str | None, datetime], Bundle]) -> Bundle:
    """Read the bundle, with the given passphrase, or none, or that in its name, or one that is typed."""
    if arguments.bundle is None:
        raise Refused(Refusal("the bundle", "none is named", "dmvpn-agent setup BUNDLE", "name the file that the CA"
                              " gave you"))  # fmt: skip
    data, now = _read(arguments.bundle), datetime.now(UTC)
    given: list[str | None]
    if arguments.passphrase_file:
        given = [_read(arguments.passphrase_file).decode(errors="replace").split("\n")[0].rstrip("\r")]
    else:
        given = [None, *filter(None, [passphrase_in_name(arguments.bundle)])]
    for passphrase in given:
        try:
            return reader(data, passphrase, now)
        except WrongPassphrase:
            continue
    try:
        if not arguments.passphrase_file and not arguments.yes and sys.stdin.isatty():
            return reader(data, getpass.getpass(f"Passphrase of {arguments.bundle.name}: "), now)
    except WrongPassphrase:
        pass
    raise Refused(Refusal("the bundle's passphrase", "it does not open the bundle", "the one by which the bundle was"
                          " encrypted", "give it with --passphrase-file, or type it again"))  # fmt: skip


def _read(file: Path) -> bytes:
    try:
        return read_file_input(file, MAX_BUNDLE_BYTES)
    except OSError as error:
        raise Refused(
            Refusal(str(file), error.strerror or str(error), "a readable file", "name another one")
        ) from None


def _ask(bundle: Bundle, system: System, answers: Answers) -> Answers:
    """Ask what is open, until nothing is."""
    while questions := choose(bundle, system, answers).questions:
        question = questions[0]
        try:
            typed = input(f"{question.text}: ")
            answers = replace(answers, **{question.key: parse_answer(question.key, typed)})
        except ConfigError as error:
            say(str(error))
        except EOFError:
            return answers
    return answers


def _show(prepared: Prepared) -> None:
    say(values_text(prepared.choice.values))
    say("")
    if not prepared.plan.steps:
        say("this node is as it must be")
        return
    say(diff_text(prepared.plan, prepared.system.files))
    say("")
    say_lines(steps_text(prepared.plan))


def _agrees() -> bool:
    try:
        return input("Go on? [y/N] ").strip().lower() in {"y", "yes"}
    except EOFError:
        return False


def _print_verdict(verdict: "Verdict") -> None:
    from dmvpn_agent.cli.doctor import render as doctor_text  # noqa: PLC0415

    say("\n".join(doctor_text(verdict.checks)))
    say_lines(
        f"peer {peer['protocol_address']} ({peer['kind']}) at {peer['nbma_address']}: {peer['subject']}"
        for peer in verdict.peers
    )
    if verdict.waiting:
        complain(
            f"dmvpn-agent: setup: still waiting for {verdict.waiting}; `dmvpn-agent status` and `doctor` show more"
        )
    if not verdict.works:
        complain("dmvpn-agent: setup: the files are in place, but the node does not work yet: mend what is above, and"
                 " look again by `dmvpn-agent doctor`; or `dmvpn-agent setup --undo`")  # fmt: skip


async def _undo(setup: Setup, arguments: Namespace) -> int:
    if setup.has_run:
        say("stops what setup started, and puts files, accounts and kernel values back as before its first run")
        if not arguments.yes and not _agrees():
            say("nothing was changed")
            return EXIT_NOT
        done = "everything is put back"
    else:
        done = "setup has changed nothing here"
    problems = await setup.undo()
    if not problems:
        if KEY_FOLDER.exists():
            say(f"removes {KEY_FOLDER}: a token that was used for the key in it is of no use any more")
            forget_key()
        say(done)
    for problem in problems:
        complain(f"dmvpn-agent: setup: {problem}")
    return EXIT_NOT if problems else EXIT_WORKS
