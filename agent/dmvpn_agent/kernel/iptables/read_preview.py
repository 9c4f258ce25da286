"""What the agent would change in iptables, in its own words, for the commands that change nothing."""

from dataclasses import dataclass

from dmvpn_agent.kernel.iptables.chain import CHAIN, Chain, ShownChain, desired_chains
from dmvpn_agent.kernel.iptables.plan import replace
from dmvpn_agent.kernel.iptables.program import PROGRAMS, Iptables, IptablesError
from dmvpn_agent.kernel.iptables.settings import ChainSettings
from dmvpn_agent.kernel.listing import differences
from dmvpn_agent.runtime.network_namespace import in_empty_namespace


@dataclass(frozen=True, slots=True)
class ChainPreview:
    """``changes``: the rules that would come and go, as a diff. ``trouble``: why something could not be read."""

    changes: tuple[str, ...] = ()
    trouble: str | None = None


async def read_preview(settings: ChainSettings) -> ChainPreview:
    """Compare each chain with what iptables makes of the desired one in an empty network namespace."""
    iptables = Iptables()
    changes: list[str] = []
    try:
        for version, chain in desired_chains(settings).items():
            now = _rules(version, await iptables.show(version))
            changes += differences([now], [_rules(version, await _tried(iptables, version, chain))])
        for version, shown in ({} if settings.keeps_chain else await iptables.leftovers()).items():
            changes += differences([_rules(version, shown)], [])
    except (IptablesError, OSError) as error:
        return ChainPreview(tuple(changes), str(error))
    return ChainPreview(tuple(changes))


async def _tried(iptables: Iptables, version: int, chain: Chain) -> ShownChain | None:
    async def write() -> ShownChain | None:
        await iptables.apply(version, replace(chain, None))
        return await iptables.show(version)

    return await in_empty_namespace(write)


def _rules(version: int, shown: ShownChain | None) -> list[str]:
    """Return the program, the rules and the jumps; the same first line for all states."""
    if shown is None:
        return [f"{PROGRAMS[version]}:"]
    jumps = [f"-A {hook} -j {CHAIN}" for hook, number in sorted(shown.jumps.items()) for _ in range(number)]
    return [f"{PROGRAMS[version]}:", *(f"-A {CHAIN} {rule}" for rule in shown.rules), *jumps]
