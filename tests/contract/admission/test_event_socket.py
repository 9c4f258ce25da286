"""nhrpd's event socket: good questions answered, whatever else connects."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from dmvpn_agent.admission import metrics as admission_metrics
from dmvpn_agent.admission import sa_lookup
from dmvpn_agent.admission.event_socket import MAX_CONNECTIONS, NhrpdSocket
from dmvpn_agent.policy.rules import Policy
from dmvpn_agent.runtime import metrics as runtime_metrics
from dmvpn_agent.runtime.telemetry import Telemetry
from factories import ADDRESS, NBMA, POLICY, Clock, certificate, event, policy
from fakes.admission import Admission
from fakes.frr import MemoryStore
from fakes.sas import FakeSas
from fakes.waiting import until

LONG = 600.0
OWN = "OU=GRE=10.255.0.2, OU=AS=64512, OU=NET=192.168.2.0/24, CN=spoke1"
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Agent:
    """The event socket of an agent with the default policy."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self.path = path
        self.clock = clock
        self.telemetry = Telemetry()
        self.recorded = self.opened = 0
        self.socket: NhrpdSocket
        self.use()

    def use(self, by: Policy = POLICY, sas: FakeSas | None = None) -> None:
        self.admission = Admission(
            MemoryStore(), self.telemetry, self.clock.both, by, sas, record=self._record
        )  # fmt: skip
        self.peers, self.authorizer = self.admission.peers, self.admission.authorizer

    async def serve(self, message_timeout: float = LONG, write_timeout: float = LONG) -> None:
        self.socket = NhrpdSocket(
            self.path, self.authorizer, self.telemetry, self._opened,
            message_timeout=message_timeout, write_timeout=write_timeout,
        )  # fmt: skip
        await self.socket.start()

    def _opened(self) -> None:
        self.opened += 1

    def _record(self, *_: object) -> None:
        self.recorded += 1

    async def connect(self) -> Connection:
        return await asyncio.open_unix_connection(self.path)

    def ended(self, outcome: str) -> float:
        return self.telemetry.value(admission_metrics.EVENT_CONNECTIONS, outcome)


@pytest.fixture
async def agent(tmp_path: Path, clock: Clock) -> AsyncIterator[Agent]:
    agent = Agent(tmp_path / "nhrp.sock", clock)
    yield agent
    await agent.socket.stop()


async def test_each_connection_is_announced(agent: Agent) -> None:
    """nhrpd makes one when it has started: what it has bound may be different from before."""
    await agent.serve()
    await agent.connect()
    await until(lambda: agent.opened == 1)
    await agent.connect()
    await until(lambda: agent.opened == 2)


async def _ask(connection: Connection, number: int = 1, **changes: str) -> str:
    reader, writer = connection
    writer.write(event(number, **changes))
    async with asyncio.timeout(30):
        answer = await reader.readuntil(b"\n\n")
    assert answer.startswith(f"eventid={number}\nresult=".encode())
    return answer.decode().split("=")[-1].strip()


async def _assert_closed(connection: Connection) -> None:
    reader, _ = connection
    async with asyncio.timeout(30):
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""


async def test_questions_are_answered_on_one_connection(agent: Agent) -> None:
    """Accept and deny, each under its id, and an accepted peer is one."""
    await agent.serve()
    nhrpd = await agent.connect()
    assert await _ask(nhrpd, 1) == "accept"
    assert await _ask(nhrpd, 2, remote_cert="") == "deny"
    assert await _ask(nhrpd, 3, event="shutdown") == "deny"
    assert await _ask(nhrpd, 4) == "accept"
    await until(lambda: ADDRESS in agent.peers)
    assert agent.socket.open_connections == 1


async def test_a_burst_is_answered_in_order(agent: Agent) -> None:
    """All requests that arrive together are answered, also if they arrive in pieces."""
    await agent.serve()
    reader, writer = await agent.connect()
    burst = b"".join(event(number) for number in range(1, 201))
    for start in range(0, len(burst), 1000):
        writer.write(burst[start : start + 1000])
        await writer.drain()
    answers = [await reader.readuntil(b"\n\n") for _ in range(200)]
    assert answers == [f"eventid={number}\nresult=accept\n\n".encode() for number in range(1, 201)]


async def test_a_question_without_id_is_denied_without_answer(agent: Agent) -> None:
    """nhrpd could not tell what is meant; the next question is answered."""
    await agent.serve()
    nhrpd = await agent.connect()
    nhrpd[1].write(b"event=authorize-binding\n\n")
    assert await _ask(nhrpd, 5) == "accept"
    assert agent.telemetry.value(admission_metrics.DECISIONS, "deny", "malformed_event") == 1


async def test_a_line_of_a_megabyte_closes_the_connection_and_no_other(agent: Agent) -> None:
    """Its sender is not nhrpd; the next connection is served."""
    await agent.serve()
    flood = await agent.connect()
    flood[1].write(b"x" * 1_000_000)
    await _assert_closed(flood)
    await until(lambda: agent.ended("message_too_long") == 1)
    assert await _ask(await agent.connect()) == "accept"


async def test_a_question_that_waits_is_overtaken_by_others_and_by_its_successor(
    agent: Agent, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """nhrpd forgets a request when it asks again about the binding: the later decision counts."""
    monkeypatch.setattr(sa_lookup, "ASK_PAUSE", 0)
    sas = FakeSas()
    agent.use(policy(confirms_certificates=False), sas)
    sas.arrive(1, "CN=large")
    await agent.serve()
    reader, writer = await agent.connect()
    writer.write(event(1, remote_cert=""))
    await until(lambda: sas.looks)
    writer.write(event(2, remote_addr="10.255.0.9", remote_nbma="203.0.113.9"))
    writer.write(event(3, remote_nbma="203.0.113.7"))
    answers = [await reader.readuntil(b"\n\n") for _ in range(2)]
    assert answers == [b"eventid=2\nresult=deny\n\n", b"eventid=3\nresult=accept\n\n"]
    await until(lambda: ADDRESS in agent.peers)
    sas.certificates[1] = certificate()
    assert await _ask((reader, writer), 4, remote_addr="10.255.0.9", remote_nbma="203.0.113.9") == "deny"
    assert [str(peer.nbma_address) for peer in agent.peers] == ["203.0.113.7"]
    assert len(agent.authorizer.records) == 3


async def test_two_that_ask_about_one_binding_are_both_answered(
    agent: Agent, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that waits for charon belongs to its connection: another client cannot cancel it."""
    monkeypatch.setattr(sa_lookup, "ASK_PAUSE", 0)
    sas = FakeSas()
    agent.use(sas=sas)
    sas.arrive(1, "CN=large")
    await agent.serve()
    nhrpd, other = await agent.connect(), await agent.connect()
    nhrpd[1].write(event(1, remote_cert=""))
    await until(lambda: sas.looks)
    assert await _ask(other, 7, remote_cert="") == "deny"
    async with asyncio.timeout(30):
        assert await nhrpd[0].readuntil(b"\n\n") == b"eventid=1\nresult=deny\n\n"


async def test_a_peer_that_registers_many_addresses_delays_no_other(
    agent: Agent, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a thousand requests of a peer without certificate, charon is still asked about a new peer."""
    monkeypatch.setattr(sa_lookup, "ASK_PAUSE", LONG)
    monkeypatch.setattr(sa_lookup, "ASK_TIMEOUT", LONG)
    sas = FakeSas()
    agent.use(sas=sas)
    await agent.serve()
    flood = [
        event(number, remote_addr=str(ADDRESS + number), remote_nbma=str(NBMA + 1), remote_cert="")
        for number in range(10, 1010)
    ]
    nhrpd = await agent.connect()
    nhrpd[1].write(b"".join(flood))
    async with asyncio.timeout(30):
        for _ in range(1000 - 16):
            assert b"deny" in await nhrpd[0].readuntil(b"\n\n")
    sas.arrive(1, OWN)
    assert await _ask(nhrpd, 2000) == "accept"


async def test_half_a_message_is_waited_for_and_then_given_up(agent: Agent) -> None:
    """A connection that is not in step any more is closed."""
    await agent.serve(message_timeout=0.05)
    half = await agent.connect()
    half[1].write(event()[:100])
    await _assert_closed(half)
    await until(lambda: agent.ended("unfinished_message") == 1)
    assert await _ask(await agent.connect()) == "accept"


async def test_a_message_in_drops_is_given_up_too(agent: Agent) -> None:
    """The time counts from a message's first byte: one byte now and then does not prolong it."""
    await agent.serve(message_timeout=0.2)
    reader, writer = await agent.connect()
    closed = asyncio.ensure_future(reader.read())
    async with asyncio.timeout(30):
        while not closed.done():
            try:
                writer.write(b"x")
                await writer.drain()
            except ConnectionError:
                break
            await asyncio.wait([closed], timeout=0.01)
    await until(lambda: agent.ended("unfinished_message") == 1)
    await asyncio.gather(closed, return_exceptions=True)


async def test_a_silent_connection_is_kept(agent: Agent) -> None:
    """nhrpd may have nothing to ask for hours: only unfinished messages have a time."""
    await agent.serve(message_timeout=0.02)
    nhrpd = await agent.connect()
    assert await _ask(nhrpd, 1) == "accept"
    half = await agent.connect()
    half[1].write(b"half")
    await _assert_closed(half)
    assert await _ask(nhrpd, 2) == "accept"


async def test_of_a_thousand_connections_the_first_is_served_on(agent: Agent) -> None:
    """The others give way to one another, and once they are gone a new one is served."""
    await agent.serve()
    nhrpd = await agent.connect()
    assert await _ask(nhrpd, 1) == "accept"
    others: list[socket.socket] = []
    for number in range(1000):
        other = socket.socket(socket.AF_UNIX)
        other.setblocking(False)
        while True:
            try:
                other.connect(str(agent.path))
            except BlockingIOError:
                await asyncio.sleep(0)  # the listener's queue is full
                continue
            break
        others.append(other)
        if number % 250 == 0:
            assert await _ask(nhrpd, 2 + number) == "accept"
    await until(
        lambda: (
            agent.telemetry.value(runtime_metrics.CONNECTIONS_REFUSED, "events", "evicted") > 1000 - MAX_CONNECTIONS
        )
    )
    assert agent.socket.open_connections == MAX_CONNECTIONS
    assert await _ask(nhrpd, 5000) == "accept"
    for other in others:
        other.close()
    await until(lambda: agent.socket.open_connections == 1)
    assert await _ask(await agent.connect(), 1) == "accept"


async def _ask_without_end(client: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(30):
        while True:
            await loop.sock_sendall(client, b"eventid=1\n\n" * 5000)


async def test_a_client_that_never_reads_is_cut_off_and_leaves_nothing(agent: Agent) -> None:
    """Its answers are not kept for ever; the others do not notice."""
    await agent.serve(write_timeout=0.05)
    nhrpd = await agent.connect()
    deaf = socket.socket(socket.AF_UNIX)
    deaf.connect(str(agent.path))
    deaf.setblocking(False)
    with pytest.raises(ConnectionError):
        await _ask_without_end(deaf)
    await until(lambda: agent.ended("broken") == 1)
    assert await _ask(nhrpd) == "accept"
    deaf.close()


async def test_a_decision_is_settled_before_its_answer_is_taken(agent: Agent) -> None:
    """A client that does not read holds up no consequence: another decision would not know of its peer."""
    await agent.serve(write_timeout=0.05)
    deaf = socket.socket(socket.AF_UNIX)
    deaf.connect(str(agent.path))
    deaf.setblocking(False)
    with pytest.raises(ConnectionError):
        await _ask_without_end(deaf)
    await until(lambda: agent.ended("broken") == 1)
    assert agent.recorded == agent.telemetry.value(admission_metrics.DECISIONS, "deny", "malformed_event") > 0
    deaf.close()


async def test_a_client_that_goes_away_in_the_middle_is_nothing(agent: Agent) -> None:
    """nhrpd may be restarted at any moment."""
    await agent.serve()
    _, writer = await agent.connect()
    writer.write(event() * 20)
    writer.transport.abort()
    half = await agent.connect()
    half[1].write(event()[:50])
    half[1].close()
    await until(lambda: agent.socket.open_connections == 0)
    assert await _ask(await agent.connect()) == "accept"


async def test_an_exception_closes_the_connection_without_an_accept(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever goes wrong, the socket goes on serving."""
    await agent.serve()
    with monkeypatch.context() as patch:
        patch.setattr(agent.authorizer, "handle", lambda *_, **__: 1 / 0)
        nhrpd = await agent.connect()
        nhrpd[1].write(event())
        await _assert_closed(nhrpd)
    await until(lambda: agent.ended("failed") == 1)
    assert await _ask(await agent.connect()) == "accept"


async def test_stopping_closes_connections_and_takes_the_socket_away(agent: Agent) -> None:
    """The next agent finds its place free."""
    await agent.serve()
    nhrpd = await agent.connect()
    await _ask(nhrpd)
    await agent.socket.stop()
    await _assert_closed(nhrpd)
    assert not agent.path.exists()
    assert agent.ended("stopped") == 1


async def test_the_impostor_is_denied(agent: Agent) -> None:
    """``GRE=10.255.0.2`` is not 10.255.0.20, whatever a prefix match would say."""
    await agent.serve()
    assert await _ask(await agent.connect(), remote_addr="10.255.0.20") == "deny"
    assert ip_address("10.255.0.20") not in agent.peers
