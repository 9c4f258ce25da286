"""The commands: what can be typed. Each loads only what it needs: a status at 3 a.m. should not wait for pyroute2."""

import argparse
import sys
import warnings
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from ipaddress import ip_address
from pathlib import Path

from dmvpn_agent import __version__
from dmvpn_agent.config.values import ConfigError
from dmvpn_agent.migration.old_script import OldScript
from dmvpn_agent.policy.request import BindingType
from dmvpn_agent.runtime.descriptors import allow_many, open_standard_ones
from dmvpn_agent.runtime.output import complain, discard

# ruff: noqa: PLC0415

DEFAULT_CONFIG = Path("/etc/dmvpn-agent/agent.toml")
EXIT_CONFIG = 78  # EX_CONFIG of sysexits.h


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status: 0 done, 1 failed, 2 wrong usage, 78 invalid configuration."""
    open_standard_ones()
    if not sys.warnoptions:  # what libraries deprecate is for whoever develops, who asks for it with -W
        warnings.simplefilter("ignore")
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.command(arguments))
    except ConfigError as error:
        complain(f"dmvpn-agent: {error}")
        return EXIT_CONFIG
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # as in `status | head`
        discard(sys.stdout)
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dmvpn-agent", description="Control plane of a Linux DMVPN node.")
    parser.add_argument("--version", action="version", version=f"dmvpn-agent {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(
        name: str, function: Callable[[argparse.Namespace], int], text: str, *, json: bool = True
    ) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(command=function)
        command.add_argument("--config", type=Path, default=DEFAULT_CONFIG, metavar="FILE",
                             help="configuration file (default: %(default)s)")  # fmt: skip
        if json:
            command.add_argument("--json", action="store_true", help="print JSON")
        return command

    run = add("run", _run, "Run the agent.", json=False)
    run.add_argument("--record", type=Path, metavar="FILE", help="write what nhrpd asks to FILE, for `replay`")
    run.add_argument("--dry-run", action="store_true",
                     help="answer nhrpd, but change nothing else: the log says what would be done")  # fmt: skip
    bridge = add("bridge", _bridge, "Run the bridge between nhrpd and an unpatched strongSwan. SIGUSR2 replaces the"
                 " running program by what is installed now.", json=False)  # fmt: skip
    bridge.add_argument("--preflight", action="store_true", help="only load the program and its configuration")
    add("check", _check, "Validate a configuration and print what would be done with it.")
    add("doctor", _doctor, "Look whether this node is put together as the agent needs it, and say what to do."
        " Exit status 0: no fault, 1: faults, 2: no usable configuration.")  # fmt: skip
    status = add("status", _status, "Show peers, decisions and what is in force, of the running agent.")
    status.add_argument("--socket", type=Path, metavar="PATH", help="control socket (default: as configured)")
    sas = add(
        "sas", _sas, "Show the IKE_SAs and CHILD_SAs with each peer: addresses, NAT, algorithms, ages, traffic."
    )
    sas.add_argument("address", nargs="*", type=ip_address, metavar="ADDRESS",
                     help="only with peers of this NBMA or protocol address")  # fmt: skip
    sas.add_argument("--socket", type=Path, metavar="PATH", help="control socket (default: as configured)")
    _explain_arguments(add("explain", _explain, "Show how a certificate is judged, rule by rule, and what follows."
                           " Exit status 0: accepted, 1: denied, 2: no certificate."))  # fmt: skip
    add(
        "lint-policy",
        _lint,
        "Show what is wrong with the policy, and what is in force. Exit status 1: contradictions.",
    )
    replay = add("replay", _replay, "Judge recorded events by a policy, and show what would be different."
                 " Exit status 1: something would.")  # fmt: skip
    replay.add_argument("recording", type=Path, metavar="RECORDING", help="what `run --record` wrote")
    add("plan", _plan, "Show what the agent would change in FRR by this configuration, and change nothing."
        " Exit status 0: nothing, 1: something is different, 2: FRR or the stored peers cannot be read.")  # fmt: skip
    reset = add("reset", _reset, "Remove everything the agent owns from FRR and nftables, after asking."
                " Exit status 0: nothing is left, 1: something is, 2: something cannot be read.")  # fmt: skip
    reset.add_argument("--yes", action="store_true", help="do not ask; with --json nothing is removed without")
    reset.add_argument("--forget", action="store_true", help="remove the stored peers too")
    return parser


def _explain_arguments(explain: argparse.ArgumentParser) -> None:
    what = explain.add_mutually_exclusive_group(required=True)
    what.add_argument("--compare", type=Path, metavar="FOLDER",
                      help="set an old script's verdict beside ours, for each certificate in FOLDER")  # fmt: skip
    what.add_argument("certificate", nargs="?", metavar="CERT", help="a file in PEM, DER or hexadecimal; `-` for"
                      " standard input; the hexadecimal itself; `none` for a peer that shows none")  # fmt: skip
    explain.add_argument("--address", type=ip_address, metavar="A",
                         help="the protocol address (default: each that the certificate names)")  # fmt: skip
    explain.add_argument("--nbma", type=ip_address, metavar="N", help="the NBMA address it is to be bound to")
    explain.add_argument("--interface", metavar="I", help="the tunnel interface (default: the first one configured)")
    explain.add_argument("--type", type=BindingType, default=BindingType.DYNAMIC, choices=list(BindingType),
                         help="the type of the binding (default: %(default)s)")  # fmt: skip
    explain.add_argument("--identity", metavar="IKE_ID", help="who has an IKE_SA with the NBMA address")
    explain.add_argument("--at", type=_time, metavar="TIME", help="ISO 8601, UTC without offset (default: now)")
    explain.add_argument("--script", choices=list(OldScript), type=OldScript, default=OldScript.GUIDE,
                         help="the old script, for --compare (default: %(default)s)")  # fmt: skip


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)


def _run(arguments: argparse.Namespace) -> int:
    import asyncio

    from dmvpn_agent.app import AgentApp
    from dmvpn_agent.runtime import logs
    from dmvpn_agent.serve import serve

    allow_many()
    build = partial(AgentApp, record=arguments.record, dry_run=arguments.dry_run)
    with logs.running():
        return asyncio.run(serve(build, arguments.config))


def _bridge(arguments: argparse.Namespace) -> int:
    import asyncio

    from dmvpn_agent.bridge.handover import take_over
    from dmvpn_agent.bridge_app import BridgeApp
    from dmvpn_agent.config.file import load
    from dmvpn_agent.runtime import logs
    from dmvpn_agent.serve import serve

    if arguments.preflight:
        BridgeApp(load(arguments.config), None)
        return 0
    allow_many()
    handed = take_over()  # before anything opens a descriptor
    with logs.running():
        return asyncio.run(serve(partial(BridgeApp, handed=handed), arguments.config))


def _check(arguments: argparse.Namespace) -> int:
    from dmvpn_agent.cli import check

    return check.run(arguments.config, arguments.json)


def _doctor(arguments: argparse.Namespace) -> int:
    from dmvpn_agent.cli import doctor

    return doctor.run(arguments.config, arguments.json)


def _status(arguments: argparse.Namespace) -> int:
    from dmvpn_agent.cli import status

    return status.run(arguments.socket, arguments.config, arguments.json)


def _sas(arguments: argparse.Namespace) -> int:
    from dmvpn_agent.cli import sas

    return sas.run(arguments.socket, arguments.config, arguments.address, arguments.json)


def _explain(arguments: argparse.Namespace) -> int:
    from dmvpn_agent.cli import explain
    from dmvpn_agent.explain.judging import Question
    from dmvpn_agent.migration import compare

    question = Question(
        at=arguments.at or datetime.now(UTC).replace(microsecond=0),
        address=arguments.address,
        nbma_address=arguments.nbma,
        interface=arguments.interface,
        binding_type=arguments.type,
        identity=arguments.identity,
    )
    if arguments.compare:
        return compare.run(arguments.compare, arguments.script, question, arguments.config, arguments.json)
    return explain.run(arguments.certificate, question, arguments.config, arguments.json)


def _replay(arguments: argparse.Namespace) -> int:
    from dmvpn_agent.cli import replay

    return replay.run(arguments.recording, arguments.config, arguments.json)


def _plan(arguments: argparse.Namespace) -> int:
    from dmvpn_agent.cli import plan

    return plan.run(arguments.config, arguments.json)


def _reset(arguments: argparse.Namespace) -> int:
    from dmvpn_agent.cli import reset

    return reset.run(arguments.config, arguments.json, yes=arguments.yes, forget=arguments.forget)


def _lint(arguments: argparse.Namespace) -> int:
    from dmvpn_agent.cli import lint

    return lint.run(arguments.config, arguments.json)


if __name__ == "__main__":
    sys.exit(main())
