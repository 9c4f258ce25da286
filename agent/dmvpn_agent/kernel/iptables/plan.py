"""The input of ``iptables-restore --noflush`` that makes the chain as it is desired: one transaction."""

from collections.abc import Mapping
from dataclasses import dataclass

from dmvpn_agent.kernel.iptables.chain import CHAIN, TABLE, Chain, ShownChain


@dataclass(frozen=True, slots=True)
class Written:
    """What the agent wrote last, and how iptables showed it then."""

    chain: Chain
    shown: ShownChain


def cause_to_write(wanted: Chain, shown: ShownChain | None, written: Written | None) -> str | None:
    """Return why the chain has to be written; ``None`` if it is as desired.

    ``start``, ``missing`` (no chain), ``changed`` (another program edited it) or ``settings``.
    """
    if written is None:
        return "start"
    if shown is None:
        return "missing"
    if wanted != written.chain:
        return "settings"
    return None if shown == written.shown else "changed"


def replace(chain: Chain, shown: ShownChain | None) -> str:
    """Return the commands that put the chain in place of the present one."""
    rules = [f"-A {CHAIN} {rule}" for rule in chain.rules]
    jumps = [f"-I {hook} -j {CHAIN}" for hook in chain.hooks]
    return _script(f":{CHAIN} - [0:0]", f"-F {CHAIN}", *_without_jumps(shown), *rules, *jumps)


def remove(shown: ShownChain) -> str:
    """Return the commands that delete the chain, and each jump to it."""
    return _script(*_without_jumps(shown), f"-F {CHAIN}", f"-X {CHAIN}")


def _without_jumps(shown: ShownChain | None) -> list[str]:
    jumps: Mapping[str, int] = shown.jumps if shown else {}
    return [f"-D {hook} -j {CHAIN}" for hook, number in jumps.items() for _ in range(number)]


def _script(*commands: str) -> str:
    return "".join(f"{line}\n" for line in (f"*{TABLE}", *commands, "COMMIT"))
