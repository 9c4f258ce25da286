"""``renew``: renews this node's certificate by EST if it is due, and puts it to use. A timer runs it as root."""

import asyncio
from argparse import ArgumentParser, Namespace
from datetime import datetime

from dmvpn_agent.charon.vici_client import ViciCharon
from dmvpn_agent.config.file import load
from dmvpn_agent.config.settings import Config
from dmvpn_agent.renewal.candidate import Judgement
from dmvpn_agent.renewal.est import EstError
from dmvpn_agent.renewal.identity import swanctl_identity
from dmvpn_agent.renewal.key_pair import KeyPairFiles
from dmvpn_agent.renewal.renewer import NotRenewed, Outcome, Renewer
from dmvpn_agent.runtime import logs
from dmvpn_agent.runtime.clocks import utc_now
from dmvpn_agent.runtime.document import Code, Exit
from dmvpn_agent.runtime.output import report_failure, say, say_json
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.x509.trust_files import read_trust

#: Seconds for all of it: two requests to charon's socket and one to the CA, and the IKE_SAs.
LIMIT = 300.0


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("--now", action="store_true", help="renew, though it is not due yet")
    parser.add_argument("--identity", action="store_true", help="print the line for the connection in swanctl.conf by"
                        " which charon finds the certificate, and do nothing else")  # fmt: skip


def run(arguments: Namespace) -> int:
    """Renew if it is due; return the exit status. Raises ``ConfigError``."""
    logs.set_up_for_command()
    config = load(arguments.config)
    try:
        if arguments.identity:
            files = KeyPairFiles(config.renewal.certificate, config.renewal.key, config.renewal.state)
            say(f"id = {swanctl_identity(files.read().certificate)}")
            return Exit.HEALTHY
        outcome = asyncio.run(_renew(config, at_once=arguments.now))
    except (NotRenewed, EstError, OSError) as error:
        report_failure(Code.FAILED, f"the certificate was not renewed: {error}", arguments.json)
        return Exit.DEGRADED
    if arguments.json:
        say_json("renew/1", {"renewed": outcome.renewed, "due": _json(outcome.state.due), "not_after":
                             _json(outcome.state.not_after)})  # fmt: skip
    else:
        say(_text(outcome))
    return Exit.HEALTHY


async def _renew(config: Config, *, at_once: bool) -> Outcome:
    telemetry = Telemetry()

    def judgement() -> Judgement:
        return Judgement(config.policy, read_trust(config.trust_files)[0], utc_now())

    charon = ViciCharon(config.ike.vici_socket, telemetry)
    renewer = Renewer(config.renewal, judgement, charon.session, config.profiles)
    try:
        async with asyncio.timeout(LIMIT):
            return await renewer.run(at_once=at_once)
    except TimeoutError:
        raise NotRenewed(f"it took longer than {LIMIT:g} s; is charon there, at {config.ike.vici_socket}?") from None


def _text(outcome: Outcome) -> str:
    state = outcome.state
    what = "renewed and in use" if outcome.renewed else "not due yet" if not state.trouble else "tried again later"
    return f"the certificate is {what}: it ends {_shown(state.not_after)}, and is due {_shown(state.due)}"


def _shown(time: datetime | None) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC" if time else "unknown"


def _json(time: datetime | None) -> str | None:
    return time.isoformat(timespec="seconds") if time else None
