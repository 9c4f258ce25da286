"""Logs the problems in the operator's part of FRR's configuration: each once, and again when it is solved."""

import asyncio

import structlog

from dmvpn_agent.bgp.bgpd import Snapshot
from dmvpn_agent.bgp.neighbors import Desired
from dmvpn_agent.bgp.problem import BgpProblem
from dmvpn_agent.bgp.problems import bgp_problems
from dmvpn_agent.bgp.settings import BgpSettings

log = structlog.get_logger()


class BgpProblemWatch:
    """The problems as of the last pass. The reconciler itself logs those that block a neighbor."""

    def __init__(self) -> None:
        self.found: tuple[BgpProblem, ...] = ()

    async def check(self, snapshot: Snapshot, settings: BgpSettings, wanted: Desired) -> tuple[BgpProblem, ...]:
        """Return the present problems for the desired neighbors."""
        before = {str(problem): problem for problem in self.found}
        # A thread, because a thousand neighbors take long: the agent answers nhrpd in the meantime.
        self.found = await asyncio.to_thread(
            bgp_problems,
            snapshot.config,
            settings,
            wanted,
            established=snapshot.established(),
            dynamic=[one for one, session in snapshot.sessions.items() if session.dynamic],
        )
        now = {str(problem): problem for problem in self.found}
        for text in now.keys() - before.keys():
            if not now[text].blocks and not now[text].blocks_all:
                log.warning("bgp_problem", kind=str(now[text].kind), found=now[text].found, do=now[text].do)
        for text in before.keys() - now.keys():
            log.info("bgp_problem_over", kind=str(before[text].kind), found=before[text].found)
        return self.found
