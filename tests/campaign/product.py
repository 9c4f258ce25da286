"""The product, put together as its composition roots do, with a world around it in place of sockets."""

import asyncio
import shutil
import tomllib
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from campaign.charon import WorldCharon, WorldNhrpd
from campaign.pki import Crl
from campaign.policies import toml
from campaign.world import Ask, Sa, World
from dmvpn_agent.admission import sa_lookup
from dmvpn_agent.admission.authorizer import Authorizer
from dmvpn_agent.admission.decider import ADMISSION, Decider
from dmvpn_agent.admission.denial_table import DenialTable
from dmvpn_agent.admission.nhrp_event import EventReader
from dmvpn_agent.admission.outcomes import Outcomes
from dmvpn_agent.admission.peer_table import PeerTable
from dmvpn_agent.admission.peers import Peers
from dmvpn_agent.admission.reauthorizer import Reauthorizer
from dmvpn_agent.admission.sa_lookup import SaLookup
from dmvpn_agent.bgp.desired import desired
from dmvpn_agent.bgp.neighbors import Observed
from dmvpn_agent.bgp.plan import plan
from dmvpn_agent.bgp.vtysh_lines import render
from dmvpn_agent.bridge.acquire import Acquirer
from dmvpn_agent.bridge.authority_files import AuthorityFiles
from dmvpn_agent.bridge.bridge import Bridge
from dmvpn_agent.bridge.certificates import Certificates
from dmvpn_agent.bridge.duplicate_terminator import DuplicateTerminator
from dmvpn_agent.charon.watch import CharonWatch
from dmvpn_agent.config.file import load
from dmvpn_agent.config.settings import Config
from dmvpn_agent.policy.decision import Accept
from dmvpn_agent.runtime.clocks import Clocks
from dmvpn_agent.runtime.store import Store
from dmvpn_agent.runtime.supervisor import Failures
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.x509.kept_trust import KeptTrust
from dmvpn_agent.x509.signer_cache import SignerCache
from dmvpn_agent.x509.trust_files import TrustFilesReader
from dmvpn_agent.x509.trust_watch import TrustWatch

#: Seconds of a world's time within which everything that follows from something has happened.
SETTLING = 1.5


class _BridgeFile:
    """The certificates by IKE_SA that the bridge stores."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[bytes, bytes]] = {}

    def save(self, spis: str, local: bytes, remote: bytes) -> None:
        self._rows[spis] = (local, remote)

    def remove(self, spis: str) -> None:
        self._rows.pop(spis, None)

    def load(self) -> Any:
        return [(key, *pair) for key, pair in self._rows.items()]

    def get(self, spis: str) -> bytes | None:
        """Return what the bridge found of an IKE_SA; ``None`` if it has not looked yet."""
        return self._rows[spis][1] if spis in self._rows else None


class _Bridge:
    """The bridge as the agent asks it: of some IKE_SAs it says late, or never, which certificate they have."""

    def __init__(self, file: _BridgeFile, charon: WorldCharon) -> None:
        self._file = file
        self._charon = charon

    async def load(self, spis: Collection[str]) -> Mapping[str, bytes]:
        said = ((one, self._file.get(one)) for one in spis if not self._charon.awaits(one))
        return {one: der for one, der in said if der is not None}


async def _no_crls_for_charon(_: tuple[bytes, ...]) -> None:
    """Give charon no CRLs."""


class Refused(Exception):
    """The product refuses the configuration."""


class Product:
    """One node: the agent, and the bridge where charon is not patched."""

    def __init__(self, world: World, folder: Path, now: datetime) -> None:
        self._world = world
        self._folder = folder
        self._loop = asyncio.get_running_loop()
        self._epoch = now.replace(tzinfo=UTC)
        self._skipped = 0.0
        self._tasks: list[asyncio.Task[None]] = []
        self._agent_tasks: list[asyncio.Task[None]] = []
        self.charon = WorldCharon(world, lambda: self._loop.time() + self._skipped)
        self.nhrpd = WorldNhrpd()
        self._bridge_file = _BridgeFile()
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "ca").mkdir(parents=True)
        (folder / "crl").mkdir()
        for number, authority in enumerate(world.authorities):
            (folder / "ca" / f"{number}.der").write_bytes(authority.der)
        self.write_crls(world.crls)
        self._config = self.configured(world.policy)
        self._store = Store(folder / "agent.sqlite", PeerTable.TABLE)

    def clock(self) -> datetime:
        """Return the time."""
        return self._epoch + timedelta(seconds=self._loop.time() + self._skipped)

    def uptime(self) -> timedelta:
        """Return the time since the start, by a clock that is never set."""
        return timedelta(seconds=self._loop.time())

    def configured(self, policy: dict[str, Any]) -> Config:
        """Return the configuration with a policy, from its file. Raises ``Refused``."""
        world = self._world
        whole = {**policy, "ca_certificates": [str(self._folder / "ca")], "crls": [str(self._folder / "crl")]}
        interfaces = ", ".join(f'{name} = "{profile}"' for name, profile in world.interfaces.items())
        bgp = toml(world.bgp, "bgp") + "enabled = true\n" if world.bgp else "enabled = false\n"
        text = (
            f'role = "{world.role}"\nstate_directory = "{self._folder}"\n[nhrp]\n'
            f"interfaces = {{ {interfaces} }}\n[redirect]\nenabled = false\n"
            f'[metrics]\nlisten = ""\n[bgp]\n{bgp}[policy]\n{toml(whole, "policy")}'
        )
        tomllib.loads(text)
        file = self._folder / "agent.toml"
        file.write_text(text)
        try:
            return load(file)
        except Exception as error:
            raise Refused(str(error)) from error

    def write_crls(self, crls: Iterable[Crl]) -> None:
        """Have the directory of CRLs hold these."""
        for file in (self._folder / "crl").iterdir():
            file.unlink()
        for crl in crls:
            (self._folder / "crl" / f"{id(crl)}.der").write_bytes(crl.der)

    async def start(self) -> None:
        """Start both processes."""
        vars(sa_lookup)["ASK_PAUSE"] = 2.0  # fewer looks for what does not come
        if not self._world.patched:
            telemetry = Telemetry()
            issued = AuthorityFiles(self._config.trust_files.authorities).issued
            certificates = Certificates(self._bridge_file, issued, telemetry, Clocks(self.clock, self.uptime))
            bridge = Bridge(
                self.charon,
                certificates,
                DuplicateTerminator(self._config.profiles, telemetry, self._loop.time),
                Acquirer(lambda *_: None, telemetry, self._loop.time),
                self._config.profiles,
                telemetry,
                clock=self.clock,
            )
            bridge.clients.add(self.nhrpd)
            self._tasks.append(self._loop.create_task(bridge.run()))
        self.start_agent()
        await asyncio.sleep(SETTLING)

    def start_agent(self) -> None:
        """Start the agent's process."""
        telemetry = Telemetry()
        self._store.open()
        self.peers = Peers(PeerTable(self._store))
        source = None if self._world.patched else _Bridge(self._bridge_file, self.charon)
        clocks = Clocks(self.clock, self.uptime)
        self.watch = CharonWatch(
            self.charon, self._config.tunnels, telemetry, clocks, source,
            changed=self._sas_changed, learn_authorities=self._learn_authorities,
        )  # fmt: skip
        failures = Failures(telemetry, ADMISSION)
        decider = Decider(
            self._config.policy, self.peers, clocks, SaLookup(self.watch), failures,
            lambda: frozenset(map(ip_address, self._world.own_addresses.values())),
        )  # fmt: skip
        outcomes = Outcomes(self.peers, DenialTable(), telemetry, clocks, changed=lambda: None)
        self.authorizer = Authorizer(decider, outcomes, telemetry, clocks, failures)
        self.reauthorizer = Reauthorizer(decider, outcomes, failures, clocks)
        files = self._config.trust_files
        reader = TrustFilesReader(files, KeptTrust(files.kept), SignerCache(), self.clock)
        self.trust = TrustWatch(reader, telemetry, _no_crls_for_charon, self.reauthorizer.use_trust)
        decider.deny_until_trust()
        self.trust.start()
        self.reauthorizer.use_trust(self.trust.trust)
        self._agent_tasks = [
            self._loop.create_task(self.watch.run()),
            self._loop.create_task(self.reauthorizer.run()),
        ]

    def _sas_changed(self) -> None:
        self.reauthorizer.sas_changed()

    async def _learn_authorities(self, certificates: list[bytes]) -> None:
        await self.trust.learn(certificates)

    async def restart_agent(self) -> None:
        """End the agent's process and start it again."""
        await self._cancel(self._agent_tasks)
        self._store.close()
        self.start_agent()
        await asyncio.sleep(SETTLING)

    async def stop(self) -> None:
        """End everything."""
        await self._cancel([*self._agent_tasks, *self._tasks])
        self._store.close()

    @staticmethod
    async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            if task.done() and not task.cancelled() and (error := task.exception()):
                raise error
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def settle(self) -> None:
        """Let everything follow that follows."""
        await asyncio.sleep(SETTLING)
        self.peers.update_bound(frozenset(self._bound()), self.uptime())
        await self.reauthorizer.rejudge()

    def _bound(self) -> Iterable[Any]:
        return (member.peer.protocol_address for member in self.peers.memberships()
                if str(member.peer.protocol_address) in self.nhrpd.bound)  # fmt: skip

    async def up(self, sa: Sa, sent: tuple[bytes, ...]) -> None:
        """Have an IKE_SA come up."""
        self.charon.up(sa, sent)
        if self._world.patched:
            proved = sa.holder.der if sa.holder else b""
            self.nhrpd.installed(sa.nbma, [str(sa.number)], proved)
        await self.settle()

    async def down(self, number: int) -> None:
        """Have an IKE_SA go."""
        sa = self.charon.sas.get(number)
        self.charon.down(number)
        if sa and self._world.patched:
            self.nhrpd.destroying(sa.nbma, [str(number)])
        await self.settle()

    async def ask(self, ask: Ask) -> bool:
        """Have nhrpd ask; return whether the answer is accept."""
        own = self._world.own_addresses.get(ask.interface, "10.255.0.254")
        message = self.nhrpd.question(ask.interface, ask.kind, ask.address, ask.nbma, own, ask.stale)
        (event,) = EventReader().feed(message)
        answers: list[bool] = []

        def reply(_: int, accept: bool) -> bool:
            answers.append(accept)
            return True

        later = self.authorizer.handle(event, reply, may_wait=True)
        if later is not None:
            await later()
        (accepted,) = answers
        decision = self.authorizer.records[-1].decision
        self.reason = "" if isinstance(decision, Accept) else str(decision.reason)
        if accepted:
            self.nhrpd.bound[ask.address] = ask.nbma
        return accepted

    async def put_crls(self, crls: Iterable[Crl]) -> None:
        """Have other CRL files."""
        self.write_crls(crls)
        await self.trust.check()
        await self.settle()

    async def read_trust_again(self) -> None:
        """Look at the files, as the agent does each second."""
        await self.trust.check()
        await self.settle()

    async def skip(self, seconds: int) -> None:
        """Have time pass."""
        self._skipped += seconds
        await self.settle()

    async def reload(self, policy: dict[str, Any]) -> None:
        """Put another policy in force. Raises ``Refused``."""
        config = self.configured(policy)
        self._config = replace(self._config, policy=config.policy)
        self.reauthorizer.use_policy(config.policy)
        await self.settle()

    def written(self) -> list[str]:
        """Return what would be written into a bgpd that has nothing of ours."""
        bgp = self._config.bgp
        if bgp is None:
            return []
        observed = Observed(as_number=bgp.as_number, requires_policy=False, peer_groups=frozenset(bgp.groups))
        with suppress(KeyError):
            return render(plan(desired(self.peers, bgp), observed).changes, bgp.instance)
        raise AssertionError("desired() and plan() disagree")
