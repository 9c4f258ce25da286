"""Failures of any part of the agent or of the bridge, at the start and later, temporary and permanent.

The parts are those of the real composition roots, so that the tests cover a new part without a change here.
"""

import asyncio
import inspect
import socket
import tempfile
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from contract.agent import VALID
from dmvpn_agent.admission.peer_table import PeerTable
from dmvpn_agent.admission.peers import Peers
from dmvpn_agent.app import AgentApp
from dmvpn_agent.bridge.certificates import Certificates
from dmvpn_agent.bridge.duplicate_terminator import DuplicateTerminator
from dmvpn_agent.bridge_app import BridgeApp
from dmvpn_agent.charon import session as session_module
from dmvpn_agent.charon import vici_client as charon_adapter
from dmvpn_agent.charon.watch import CharonWatch
from dmvpn_agent.config.file import load
from dmvpn_agent.config.settings import Config
from dmvpn_agent.runtime import metrics
from dmvpn_agent.runtime import supervisor as module
from dmvpn_agent.runtime.store import Store
from dmvpn_agent.runtime.supervisor import Part, Supervisor
from dmvpn_agent.x509.trust_files import TrustFilesReader
from factories import authority_pem, der, event
from fakes.charon import FakeCharon, FakeSa
from fakes.nhrpd_vici import NhrpdVici
from fakes.waiting import running, until

CONFIG = """\
role = "hub"
state_directory = "{directory}"
control_socket = "{directory}/control.sock"
[nhrp]
event_socket = "{directory}/nhrp.sock"
[ike]
vici_socket = "{directory}/real.vici"
[policy]
tunnel_networks = ["10.255.0.0/24"]
allowed_networks = ["192.168.0.0/16"]
confirm_certificates = false
ca_certificates = ["{directory}/ca.pem"]
[bgp]
as_number = 65000
[redirect]
enabled = true
[frr]
vtysh = "{directory}/no-vtysh"
vty_directory = "{directory}"
[metrics]
listen = "127.0.0.1:{port}"
[bridge]
listen = "{directory}/charon.vici"
metrics_listen = "127.0.0.1:{port}"
"""

pytestmark = pytest.mark.contract


def _config(directory: Path) -> Config:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    file = directory / "agent.toml"
    file.write_text(CONFIG.format(directory=directory, port=port))
    (directory / "ca.pem").write_bytes(authority_pem())
    return load(file)


def _agent(directory: Path) -> AgentApp:
    return AgentApp(_config(directory), directory / "recording", dry_run=True)


def _bridge(directory: Path) -> BridgeApp:
    return BridgeApp(_config(directory), None)


def _names(build: Callable[[Path], AgentApp | BridgeApp]) -> list[str]:
    with tempfile.TemporaryDirectory() as directory:
        return [part.name for part in build(Path(directory)).supervisor.parts]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_DELAY", 0.01)
    monkeypatch.setattr(module, "LONGEST_DELAY", 0.05)


class Injected:
    """A supervisor's parts, one of which fails ``times`` times; ``at_work`` has the names of the running parts."""

    def __init__(self, supervisor: Supervisor, name: str, where: str, times: int) -> None:
        self.left = times
        self.at_work: set[str] = set()
        self.ended: set[str] = set()
        self.name = name
        supervisor.parts = tuple(
            self._failing(self._observed(part), where) if part.name == name else self._observed(part)
            for part in supervisor.parts
        )
        self.others = {part.name for part in supervisor.parts} - {name}

    def _fail(self) -> None:
        if self.left:
            self.left -= 1
            raise IndexError("injected")

    def _failing(self, part: Part, where: str) -> Part:
        original: Callable[[], Any] = getattr(part, where)

        def start() -> Any:
            self._fail()
            return original()

        async def run() -> None:
            self._fail()
            await original()

        return replace(part, run=run) if where == "run" else replace(part, start=start)

    def _observed(self, part: Part) -> Part:
        async def run() -> None:
            self.at_work.add(part.name)
            try:
                await part.run()
            finally:
                self.at_work.discard(part.name)
                self.ended.add(part.name)

        return replace(part, run=run)


@asynccontextmanager
async def _at_work(app: AgentApp | BridgeApp) -> AsyncIterator[None]:
    await app.start()
    try:
        async with running(app.run()):
            yield
    finally:
        await app.stop()


async def _ask(directory: Path, number: int = 1) -> bytes:
    reader, writer = await asyncio.open_unix_connection(directory / "nhrp.sock")
    writer.write(event(der_hex=VALID, event_id=number))
    try:
        async with asyncio.timeout(20):
            return await reader.readuntil(b"\n\n")
    finally:
        writer.close()


ACCEPTED = b"eventid=1\nresult=accept\n\n"


@pytest.mark.parametrize("times", [2, 10**9], ids=["twice", "always"])
@pytest.mark.parametrize("where", ["start", "run"])
@pytest.mark.parametrize("name", _names(_agent))
async def test_the_agent_answers_nhrpd_if_any_part_fails(tmp_path: Path, name: str, where: str, times: int) -> None:
    """The other parts run, the failure is counted, and a part that recovers runs again."""
    app = _agent(tmp_path)
    injected = Injected(app.supervisor, name, where, times)
    async with _at_work(app):
        assert await _ask(tmp_path) == ACCEPTED
        await until(lambda: app.process.telemetry.value(metrics.PART_FAILURES, name) >= 2)
        assert await _ask(tmp_path) == ACCEPTED
        await until(lambda: injected.at_work >= injected.others)
        if times == 2:
            await until(lambda: name in injected.at_work)
        assert not injected.ended - {name}
    assert not (tmp_path / "nhrp.sock").exists()


async def test_the_agent_answers_nhrpd_if_every_part_always_fails(tmp_path: Path) -> None:
    """A reload applies to the next answer, and the agent stops as usual."""
    app = _agent(tmp_path)
    for name in [part.name for part in app.supervisor.parts]:
        Injected(app.supervisor, name, "run", 10**9)
    async with _at_work(app):
        await until(lambda: all(
            app.process.telemetry.value(metrics.PART_FAILURES, part.name) >= 2 for part in app.supervisor.parts
        ))  # fmt: skip
        assert await _ask(tmp_path) == ACCEPTED
        app.reload(replace(app._config, policy=replace(app._config.policy, rules={})))
        assert await _ask(tmp_path) == b"eventid=1\nresult=deny\n\n"
    assert not (tmp_path / "nhrp.sock").exists()


def _broken(*_: object, **__: object) -> Any:
    raise IndexError("injected")


async def _broken_later(*_: object, **__: object) -> Any:
    raise IndexError("injected")


@pytest.mark.parametrize(
    ("owner", "method", "part", "accepted"),
    [
        (Store, "open", "store", True),
        (PeerTable, "load", "store", True),
        (TrustFilesReader, "read", "trust", False),
        (CharonWatch, "peers_at", "admission", False),
        (Peers, "apply_decision", "admission", True),
        (Peers, "conflicting", "admission", False),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_the_agent_answers_nhrpd_if_something_below_admission_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: type, method: str, part: str, accepted: bool
) -> None:
    """A failure in the input of a decision denies; a failure in its consequences does not change the answer."""
    monkeypatch.setattr(owner, method, _broken)
    app = _agent(tmp_path)
    async with _at_work(app):
        for number in (1, 2):
            word = b"accept" if accepted else b"deny"
            assert await _ask(tmp_path, number) == b"eventid=%d\nresult=%s\n\n" % (number, word)
        assert app.process.telemetry.value(metrics.PART_FAILURES, part) >= 1


@pytest.mark.parametrize("fault", ["hangs", "fails"])
async def test_the_agent_answers_nhrpd_whatever_the_state_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """A thread writes to it, and a stop waits for the thread for a limited time."""
    released = threading.Event()
    monkeypatch.setattr(Store, "_write", lambda *_, **__: released.wait() if fault == "hangs" else 1 / 0)
    app = _agent(tmp_path)
    app.process.store._timeout = 0.01
    async with _at_work(app):
        for number in (1, 2):
            assert await _ask(tmp_path, number) == b"eventid=%d\nresult=accept\n\n" % number
    released.set()


async def test_the_agent_accepts_no_peer_before_it_has_read_the_crls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After that it loads the stored peers and accepts peers."""
    first = _agent(tmp_path)
    async with _at_work(first):
        assert await _ask(tmp_path) == ACCEPTED
    read, broken = TrustFilesReader.read, [True]

    def sometimes(self: TrustFilesReader) -> Any:
        return _broken() if broken[0] else read(self)

    monkeypatch.setattr(TrustFilesReader, "read", sometimes)
    app = _agent(tmp_path)
    async with _at_work(app):
        assert await _ask(tmp_path) == b"eventid=1\nresult=deny\n\n"
        assert not app.status()["peers"]
        broken[0] = False
        await until(lambda: app.status()["peers"])
        assert await _ask(tmp_path) == ACCEPTED


@pytest.mark.parametrize("role", ["agent", "bridge"])
async def test_a_metric_that_raises_an_exception_is_left_out(tmp_path: Path, role: str) -> None:
    """The scrape has the other metrics and counts the failure."""
    app: AgentApp | BridgeApp = _agent(tmp_path) if role == "agent" else _bridge(tmp_path)
    app.process.telemetry.observe(metrics.BUILD_INFO, _broken)
    assert app.process.telemetry.samples(metrics.BUILD_INFO) == {}
    assert app.process.telemetry.value(metrics.START_TIME) > 0
    assert app.process.telemetry.value(metrics.PART_FAILURES, "metrics") == 1


@pytest.fixture
async def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeCharon]:
    """A charon with a peer, in this process; the bridge normally refuses a charon in its own process."""
    monkeypatch.setattr(charon_adapter, "_refuse_itself", lambda _: None)
    charon = FakeCharon(tmp_path / "real.vici")
    name = "OU=GRE=10.255.0.2, OU=AS=64512, OU=NET=192.168.2.0/24, CN=spoke1"
    charon.certificates = [der()]
    charon.sas[1] = FakeSa(1, "203.0.113.2", name, children={11: "INSTALLED"})
    await charon.start()
    yield charon
    await charon.stop()


async def _served(app: BridgeApp, listen: Path) -> NhrpdVici:
    """Return a client that received the circuit. Like nhrpd, it connects again if the connection is closed."""
    async with asyncio.timeout(20):
        while True:
            client = NhrpdVici()
            await client.connect(listen)
            await until(lambda client=client: client.closed or client.received)  # type: ignore[misc]
            if client.received:
                return client
            await client.close()


@pytest.mark.parametrize("times", [2, 10**9], ids=["twice", "always"])
@pytest.mark.parametrize("where", ["start", "run"])
@pytest.mark.parametrize("name", _names(_bridge))
async def test_the_bridge_serves_or_closes_its_clients_if_any_part_fails(
    tmp_path: Path, beside: FakeCharon, name: str, where: str, times: int
) -> None:
    """If the bridge part itself fails, it closes each client at once."""
    app = _bridge(tmp_path)
    injected = Injected(app.supervisor, name, where, times)
    async with _at_work(app):
        await until(lambda: app.process.telemetry.value(metrics.PART_FAILURES, name) >= 2)
        if name == "bridge" and times > 2:
            client = NhrpdVici()
            await client.connect(tmp_path / "charon.vici")
            await until(lambda: client.closed)
        else:
            client = await _served(app, tmp_path / "charon.vici")
        await client.close()
        await until(lambda: injected.at_work >= injected.others)
        assert not injected.ended - {name}


@pytest.mark.parametrize(
    ("owner", "method", "part"),
    [
        (Certificates, "collect", "certificates"),
        (Certificates, "learn", "certificates"),
        (Certificates, "resync", "certificates"),
        (DuplicateTerminator, "check", "surplus"),
        (Store, "open", "store"),
        (Certificates, "start", "store"),
    ],
)
async def test_the_bridge_serves_its_clients_if_something_inside_it_fails(
    tmp_path: Path, beside: FakeCharon, monkeypatch: pytest.MonkeyPatch, owner: type, method: str, part: str
) -> None:
    """It announces a circuit without a certificate if it cannot find one, and the agent denies the peer."""
    asynchronous = inspect.iscoroutinefunction(getattr(owner, method))
    monkeypatch.setattr(owner, method, _broken_later if asynchronous else _broken)
    app = _bridge(tmp_path)
    async with _at_work(app):
        client = await _served(app, tmp_path / "charon.vici")
        beside.raise_event("ike-updown", {"up": "yes", "dmvpn": beside.sas[1].section()})
        await until(lambda: app.process.telemetry.value(metrics.PART_FAILURES, part) >= 1)
        assert not client.closed
        await client.close()


async def test_the_bridge_closes_a_client_if_the_bridge_part_fails(
    tmp_path: Path, beside: FakeCharon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """nhrpd resets its circuits and connects again; the restarted bridge part serves it."""
    app = _bridge(tmp_path)
    async with _at_work(app):
        client = await _served(app, tmp_path / "charon.vici")
        with monkeypatch.context() as patch:
            patch.setattr(session_module, "decode_event", _broken)
            beside.raise_event("ike-updown", {"up": "yes", "dmvpn": beside.sas[1].section()})
            await until(lambda: client.closed)
        await client.close()
        await (await _served(app, tmp_path / "charon.vici")).close()
        assert app.process.telemetry.value(metrics.PART_FAILURES, "bridge") >= 1
