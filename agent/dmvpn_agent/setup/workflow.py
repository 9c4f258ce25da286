"""The whole of setup on one machine: observe, choose, plan, apply; or undo."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from dmvpn_agent.config.file import read_config
from dmvpn_agent.config.findings import refuse_contradictions
from dmvpn_agent.config.settings import Config
from dmvpn_agent.config.table import ConfigError
from dmvpn_agent.config.toml_file import read_toml
from dmvpn_agent.doctor.unfinished import why_unresolved
from dmvpn_agent.setup.agent_toml import agent_toml
from dmvpn_agent.setup.answers import Answers
from dmvpn_agent.setup.apply import Applier
from dmvpn_agent.setup.bundle import Bundle
from dmvpn_agent.setup.choose import Choice, Question, choose
from dmvpn_agent.setup.disk import Disk, failure_text
from dmvpn_agent.setup.frr_text import compare
from dmvpn_agent.setup.journal import Journal
from dmvpn_agent.setup.machine import Machine, MachineError
from dmvpn_agent.setup.node import Node
from dmvpn_agent.setup.objections import refusals
from dmvpn_agent.setup.observe import manager_here, observe
from dmvpn_agent.setup.paths import AGENT_TOML, FRR_CONF
from dmvpn_agent.setup.plan import Plan, make_plan
from dmvpn_agent.setup.refusal import Refusal, Refused
from dmvpn_agent.setup.system import System
from dmvpn_agent.setup.templates import frr_conf
from dmvpn_agent.setup.undo import Undo

#: How long FRR may take until it has read its file, and how often it is asked.
READ_BACK_SECONDS, POLL_SECONDS = 60.0, 1.0
Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Prepared:
    """What setup is going to do, and the agent's configuration that comes of it."""

    system: System
    choice: Choice
    node: Node
    plan: Plan
    config: Config


class Setup:
    """Setup on one machine. ``report`` gets a line for each step."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._disk = Disk()
        self._journal = Journal(self._disk)
        self._machine = Machine()

    async def observe(self) -> System:
        """Return the machine as it is. Raises ``OSError`` and ``JournalUnreadable``."""
        return await observe(self._disk, self._journal, self._machine)

    def prepare(self, bundle: Bundle, system: System, answers: Answers, *, start: bool) -> Prepared:
        """Return what to do. Raises ``Refused``; before, ask the questions of ``choose``."""
        choice = choose(bundle, system, answers)
        if choice.node is None:
            raise Refused(*choice.refusals, *map(unanswered, choice.questions))
        if found := refusals(choice.node, bundle, system, start=start):
            raise Refused(*found)
        config = self._config(choice.node, system)
        plan = make_plan(choice.node, bundle, system, start=start)
        return Prepared(system, choice, choice.node, plan, config)

    @staticmethod
    def _config(node: Node, system: System) -> Config:
        """Read ``agent.toml`` as the agent will. Raises ``Refused``."""
        try:
            config = read_config(read_toml(agent_toml(node, system).text.encode()))
            refuse_contradictions(config)
        except ConfigError as error:
            do = (
                f"correct the answers, or what {AGENT_TOML} has"
                if AGENT_TOML in system.files
                else "correct the answers"
            )
            raise Refused(
                Refusal("the agent's configuration", str(error), "one without contradictions", do)
            ) from None
        return config

    async def unresolved(self, node: Node) -> tuple[str, ...]:
        """Return a line for each hub whose name this machine cannot resolve now: nhrpd keeps trying."""
        found = [(hub.nbma, await why_unresolved(hub.nbma)) for hub in node.hubs]
        return tuple(f"the hub's name {name} cannot be resolved here: {why}; nhrpd registers once it can be"
                     for name, why in found if why)  # fmt: skip

    async def apply(self, prepared: Prepared) -> None:
        """Carry out a plan. A first run that fails is undone at once. Raises ``OSError`` and ``MachineError``."""
        first = not self._journal.entries
        applier = Applier(self._disk, self._journal, self._machine, manager_here(), self._report)
        try:
            await applier.apply(prepared.plan)
            if prepared.plan.starts_frr:
                await self._read_back(prepared.node)
        except (OSError, MachineError) as error:
            if not first:
                raise
            self._report(f"fails: {failure_text(error)}; everything is put back")
            if problems := await self.undo():
                raise MachineError(f"{failure_text(error)}; and then: {'; '.join(problems)}") from error
            raise

    async def _read_back(self, node: Node) -> None:
        """See that FRR took every line: a daemon drops one without a word, and status 0. Raises ``MachineError``.

        watchfrr gives FRR its file after the daemons serve, on a slow machine much later.
        """
        deadline = time.monotonic() + READ_BACK_SECONDS
        while missing := compare(frr_conf(node), await self._running_config()).missing:
            if time.monotonic() < deadline:
                await asyncio.sleep(POLL_SECONDS)
                continue
            dropped = "; ".join(" / ".join(line) for line in missing[:10])
            raise MachineError(f"FRR dropped lines of {FRR_CONF}: {dropped}")

    async def _running_config(self) -> str:
        return await self._machine.must(("vtysh", "-c", "show running-config"))

    async def undo(self) -> list[str]:
        """Put everything back; return what could not be. Raises ``OSError`` and ``JournalUnreadable``."""
        undo = Undo(self._disk, self._journal, self._machine, manager_here(), self._report)
        await undo.undo()
        return undo.problems

    @property
    def has_run(self) -> bool:
        """Tell whether there is anything to undo."""
        return bool(self._journal.entries)


def unanswered(question: Question) -> Refusal:
    """Return the refusal for a question that was not answered."""
    do = f"write `{question.key} = …` into a file, and name it with --answers"
    return Refusal(question.key, "it is not known", question.text, do)
