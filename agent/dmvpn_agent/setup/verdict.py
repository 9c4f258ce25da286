"""Whether a node works after setup: waits until it should, then asks the agent and the doctor."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dmvpn_agent.config.settings import Config
from dmvpn_agent.doctor.check import Check, Level
from dmvpn_agent.doctor.checks import check_node
from dmvpn_agent.doctor.inspect import expected, inspect
from dmvpn_agent.runtime.control_client import read_status
from dmvpn_agent.x509.certificate import Role

_POLL = 1.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """``waiting``: what did not become true in time, empty if all did. ``peers``: the agent's, as in ``status``."""

    waiting: str
    checks: tuple[Check, ...]
    peers: tuple[dict[str, Any], ...]

    @property
    def works(self) -> bool:
        """Tell whether the node works."""
        return not self.waiting and not any(check.level is Level.FAULT for check in self.checks)


async def reach_verdict(config: Config, seconds: float, report: Callable[[str], None]) -> Verdict:
    """Wait, at most ``seconds``, until the node should work, and return the verdict. ``report`` gets the progress."""
    deadline = time.monotonic() + seconds
    state: dict[str, Any] = {}
    waiting, said = "", ""
    while True:
        try:
            state = await read_status(config.control_socket)
            waiting = _waiting_for(state, config)
        except (OSError, TimeoutError, ValueError) as error:
            waiting = f"the agent's status ({error})"
        if not waiting or time.monotonic() > deadline:
            break
        if waiting != said:
            report(f"waits for {waiting}")
            said = waiting
        await asyncio.sleep(_POLL)
    checks = check_node(await inspect(config), expected(config))
    return Verdict(waiting, checks, tuple(state.get("peers", ())))


def _waiting_for(state: dict[str, Any], config: Config) -> str:
    """Return what a working node has, and this one lacks."""
    if not state["charon"]["connected"]:
        return "the agent's connection to charon"
    if not state["nhrpd"]["connected"]:
        return "nhrpd to connect to the agent (it tries every 10 s)"
    if config.role is Role.HUB:
        return ""
    hubs = [peer for peer in state["peers"] if peer["kind"] == Role.HUB]
    if not hubs:
        return "a hub to answer"
    if config.bgp and not any(peer["bgp"] and peer["bgp"]["state"] == "Established" for peer in hubs):
        return "a BGP session with a hub"
    return ""
