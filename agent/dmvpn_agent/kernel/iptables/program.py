"""The agent's chain by the programs of iptables: whichever variant ``iptables`` is on this node."""

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path

from dmvpn_agent.addresses import IP_VERSIONS
from dmvpn_agent.kernel.iptables.chain import TABLE, ChainState, SaveFormatError, ShownChain, parse_save
from dmvpn_agent.kernel.iptables.plan import remove
from dmvpn_agent.runtime.program import Completed, ProgramError, run

#: Seconds that a program may take, and of these how long it may wait for another one's lock.
TIMEOUT, LOCK_TIMEOUT = 10.0, 5
MAX_OUTPUT = 16 << 20

#: By IP version.
PROGRAMS = {4: "iptables", 6: "ip6tables"}
_NAMES = {4: Path("/proc/thread-self/net/ip_tables_names"), 6: Path("/proc/thread-self/net/ip6_tables_names")}


class IptablesError(Exception):
    """iptables cannot be run or refused something; the text has its message."""


class Iptables:
    """The chain in each of the two kinds of iptables."""

    async def state(self, chains: Mapping[int, object]) -> ChainState:
        """Return the chains of these IP versions. Raises ``IptablesError``."""
        shown = {version: await self.show(version) for version in chains}
        return ChainState(await self.variant() if shown else "", shown)

    async def show(self, version: int) -> ShownChain | None:
        """Return the chain for an IP version, ``None`` if there is none. Raises ``IptablesError``."""
        program = f"{PROGRAMS[version]}-save"
        done = await self._run(program, "-c", "-t", TABLE)
        if done.status != 0:
            raise IptablesError(f"{program}: {done.message}")
        try:
            return await asyncio.to_thread(parse_save, done.stdout)
        except SaveFormatError as error:
            raise IptablesError(str(error)) from error

    async def apply(self, version: int, script: str) -> None:
        """Apply commands in one transaction. Raises ``IptablesError``."""
        program = f"{PROGRAMS[version]}-restore"
        done = await self._run(program, "-w", str(LOCK_TIMEOUT), "--noflush", stdin=script)
        if done.status != 0:
            raise IptablesError(f"{program}: {done.message}")

    async def leftover(self, version: int) -> ShownChain | None:
        """Return a chain that is there although none is desired; ``None`` too if it cannot be read.

        A read loads the kernel's module of the legacy table; no module, no chain.
        """
        try:
            if await self.variant(version) == "legacy" and not _may_have_table(version):
                return None
            return await self.show(version)
        except IptablesError:
            return None

    async def leftovers(self) -> dict[int, ShownChain]:
        """Return all chains that are there, by IP version."""
        found = {version: await self.leftover(version) for version in IP_VERSIONS}
        return {version: shown for version, shown in found.items() if shown is not None}

    async def remove(self, chains: Mapping[int, ShownChain]) -> None:
        """Delete chains and the jumps to them. Raises ``IptablesError``."""
        for version, shown in chains.items():
            await self.apply(version, remove(shown))

    async def variant(self, version: int = 4) -> str:
        """Return ``nf_tables`` or ``legacy``. Raises ``IptablesError``."""
        done = await self._run(PROGRAMS[version], "-V")
        found = re.search(r"\((\w+)\)", done.stdout)
        return found[1] if found else "legacy"  # before 1.8 there was no other one

    async def _run(self, *words: str, stdin: str = "") -> Completed:
        try:
            return await run(words, stdin=stdin, timeout=TIMEOUT, max_output=MAX_OUTPUT)
        except ProgramError as error:
            raise IptablesError(str(error)) from error


def _may_have_table(version: int) -> bool:
    try:
        return TABLE in _NAMES[version].read_text().split()
    except FileNotFoundError:
        return False
    except OSError:
        return True  # only root may read it
