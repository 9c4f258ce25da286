"""The command line: the parser, and the dispatch to one module for each command.

Only the module of the command in use is imported: ``status`` during an outage should not wait for pyroute2.
"""

import argparse
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from dmvpn_agent import __version__
from dmvpn_agent.config.values import ConfigError
from dmvpn_agent.runtime.descriptors import open_standard_ones
from dmvpn_agent.runtime.output import complain, discard

DEFAULT_CONFIG = Path("/etc/dmvpn-agent/agent.toml")
EXIT_CONFIG = 78  # EX_CONFIG of sysexits.h

#: Each command with its help. Its module has the same name, with ``add_arguments(parser)`` and ``run(arguments)``.
COMMANDS = {
    "run": "Run the agent.",
    "bridge": "Run the bridge between nhrpd and an unpatched strongSwan. SIGUSR2 replaces the running program by the"
    " installed one.",
    "check": "Validate a configuration and show what the agent would do with it.",
    "doctor": "Check the setup of this node and show what to do. Exit status 0: no fault, 1: faults, 2: the"
    " configuration is invalid.",
    "setup": "Make this machine a node of a DMVPN, from one file, or undo that. Exit status 0: the node works, 1: it"
    " does not, 2: something is wrong, and nothing was changed.",
    "status": "Show the peers, the latest decisions and the state of the running agent.",
    "sas": "Show the IKE_SAs and CHILD_SAs with each peer: addresses, NAT, algorithms, ages, traffic.",
    "explain": "Show how the policy judges a certificate, rule by rule, and what follows in FRR. Exit status 0:"
    " accepted, 1: denied, 2: no certificate.",
    "lint-policy": "Show the mistakes in the policy, and the rules in force. Exit status 1: the policy contradicts"
    " itself.",
    "replay": "Judge recorded events by the policy and show which decisions change. Exit status 0: none, 1: some, 2:"
    " the recording cannot be read.",
    "plan": "Show what the agent would change in FRR with this configuration; change nothing. Exit status 0: nothing,"
    " 1: changes, 2: FRR or the stored peers cannot be read.",
    "ca": "Run the certificate authority: sites, nodes, addresses, certificates, CRLs. Exit status 0: done, 1:"
    " refused, with nothing changed.",
    "reset": "Remove everything the agent owns from FRR and nftables, after asking. Exit status 0: nothing is left,"
    " 1: something is left, 2: something cannot be read.",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status: 0 done, 1 failed, 2 wrong usage, 78 invalid configuration."""
    open_standard_ones()
    if not sys.warnoptions:  # deprecation warnings of libraries are for developers, who ask for them with -W
        warnings.simplefilter("ignore")
    words = sys.argv[1:] if argv is None else list(argv)
    arguments = _parser(words).parse_args(words)
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


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """Return a parser that knows all commands, and the arguments of the first one among the words."""
    parser = argparse.ArgumentParser(prog="dmvpn-agent", description="Control plane of a Linux DMVPN node.")
    parser.add_argument("--version", action="version", version=f"dmvpn-agent {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    chosen = next((word for word in words if word in COMMANDS), None)
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text)
        if name == chosen:
            module = import_module(f"dmvpn_agent.cli.{name.replace('-', '_')}")
            command.set_defaults(command=module.run)
            command.add_argument("--config", type=Path, default=DEFAULT_CONFIG, metavar="FILE",
                                 help="configuration file (default: %(default)s)")  # fmt: skip
            module.add_arguments(command)
    return parser


if __name__ == "__main__":
    sys.exit(main())
