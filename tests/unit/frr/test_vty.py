"""The client of the daemons' vty sockets."""

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmvpn_agent.addresses import Address
from dmvpn_agent.admission.bindings import NhrpdUnavailable
from dmvpn_agent.admission.frr_nhrpd import FrrNhrpd
from dmvpn_agent.bgp.bgpd import FrrRefused, FrrUnavailable
from dmvpn_agent.bgp.frr_bgpd import FrrBgpd
from dmvpn_agent.bgp.neighbors import DENY_ANY
from dmvpn_agent.bgp.plan import AddEntry, Change, RefreshInbound, RemoveList
from dmvpn_agent.bgp.settings import Instance
from dmvpn_agent.frr.terminal import NotConnected, Reply, TerminalError, WithFallback
from dmvpn_agent.frr.vty import VtySockets
from dmvpn_agent.frr.vtysh import Vtysh
from dmvpn_agent.policy.request import BindingRequest
from fakes.bgpd_model import BgpdModel
from fakes.vty_server import VtyServer, reply
from fakes.waiting import until

CONFIG = BgpdModel().running_config()


def no_row(why: str) -> None:
    raise AssertionError(why)


def _by_command(answers: Mapping[str, bytes | None]) -> Any:
    return lambda command: answers.get(command, reply())


async def test_each_run_has_its_own_connection(tmp_path: Path) -> None:
    """It begins in enable mode, and each command waits for the reply to the previous one."""
    async with VtyServer(tmp_path, lambda command: reply(f"{command}.")) as server:
        vty = VtySockets(tmp_path)
        assert await vty.run("bgpd", ["show a", "show b"]) == Reply(0, "show a.show b.")
        assert await vty.run("bgpd", ["show c"]) == Reply(0, "show c.")
        assert server.conversations == [["enable", "show a", "show b"], ["enable", "show c"]]
        assert not server.pipelined


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), st.integers(0, 255))
async def test_a_reply_may_arrive_in_any_pieces(
    tmp_path_factory: pytest.TempPathFactory, text: str, code: int
) -> None:
    """Even byte by byte, text and status are the same."""
    directory = tmp_path_factory.mktemp("vty")
    async with VtyServer(directory, _by_command({"show a": reply(text, code)}), piece=1):
        assert await VtySockets(directory).run("bgpd", ["show a"]) == Reply(code, text)


async def test_commands_after_a_failed_one_are_not_sent(tmp_path: Path) -> None:
    """As with vtysh. The connection ends, which leaves configuration mode."""
    answers = {"neighbor x": reply("% Malformed address\n", 13)}
    async with VtyServer(tmp_path, _by_command(answers)) as server:
        done = await VtySockets(tmp_path).run("bgpd", ["configure terminal", "neighbor x", "neighbor y", "end"])
        assert done == Reply(13, "% Malformed address\n")
        assert server.conversations == [["enable", "configure terminal", "neighbor x"]]
        await until(lambda: server.open_connections == 0)


@pytest.mark.parametrize("kept", [0, 5, len(CONFIG), len(CONFIG) + 1, len(CONFIG) + 2, len(CONFIG) + 3])
async def test_an_incomplete_reply_is_an_error(tmp_path: Path, kept: int) -> None:
    """The daemon may be killed at any byte."""
    async with VtyServer(tmp_path, lambda _: reply(CONFIG)[:kept]):
        with pytest.raises(TerminalError, match="bgpd closed the connection"):
            await VtySockets(tmp_path).run("bgpd", ["show running-config"])


async def test_a_hanging_daemon_is_a_timeout(tmp_path: Path) -> None:
    """A late reply is not mistaken for that of the next command."""
    async with VtyServer(tmp_path, _by_command({"show a": None, "show b": reply("b")})) as server:
        vty = VtySockets(tmp_path, timeout=0.05)
        with pytest.raises(TerminalError, match=r"bgpd did not answer within 0\.05 s"):
            await vty.run("bgpd", ["show a"])
        assert await vty.run("bgpd", ["show b"]) == Reply(0, "b")
        await until(lambda: server.open_connections == 0)


async def test_an_endless_reply_is_an_error(tmp_path: Path) -> None:
    """The agent keeps a bounded part of it."""
    async with VtyServer(tmp_path, lambda _: reply("x" * 100_000)):
        with pytest.raises(TerminalError, match="bgpd answered with more than 1000 bytes"):
            await VtySockets(tmp_path, max_reply=1000).run("bgpd", ["show a"])


@pytest.mark.parametrize("line", ["show a\nshow b", "show a\0show b", "show a\r", "x" * 1025, "é" * 513])
async def test_a_line_that_is_not_a_single_command_is_not_sent(tmp_path: Path, line: str) -> None:
    """FRR would run the rest of it as another command. Nothing before it is sent either."""
    async with VtyServer(tmp_path, lambda _: reply()) as server:
        with pytest.raises(ValueError, match="not a single command of at most 1024 bytes"):
            await VtySockets(tmp_path).run("bgpd", ["configure terminal", line])
        assert server.conversations == []


async def test_runs_on_one_daemon_are_serial(tmp_path: Path) -> None:
    """Runs on different daemons are not."""
    answers = _by_command({"show a": None})
    async with VtyServer(tmp_path, answers) as server, VtyServer(tmp_path, answers, "nhrpd"):
        vty = VtySockets(tmp_path)
        first = asyncio.create_task(vty.run("bgpd", ["show a"]))
        await until(lambda: server.conversations and "show a" in server.conversations[0])
        second = asyncio.create_task(vty.run("bgpd", ["show b"]))
        assert await vty.run("nhrpd", ["show b"]) == Reply(0, "")
        assert len(server.conversations) == 1
        first.cancel()
        assert await second == Reply(0, "")


async def test_a_cancelled_run_leaves_nothing_behind(tmp_path: Path) -> None:
    """Neither an open connection nor a lock."""
    async with VtyServer(tmp_path, _by_command({"show a": None})) as server:
        vty = VtySockets(tmp_path)
        task = asyncio.create_task(vty.run("bgpd", ["show a"]))
        await until(lambda: server.conversations and "show a" in server.conversations[0])
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await until(lambda: server.open_connections == 0)
        assert await vty.run("bgpd", ["show b"]) == Reply(0, "")


class TestFallback:
    """Reading by the sockets, or by vtysh without them."""

    @staticmethod
    def _vtysh(path: Path, text: str) -> Vtysh:
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return Vtysh(str(path))

    async def test_the_socket_is_preferred(self, tmp_path: Path, logs: list[Any]) -> None:
        """vtysh does not run. The log says so once."""
        reader = WithFallback(VtySockets(tmp_path), Vtysh("/no/vtysh"))
        async with VtyServer(tmp_path, lambda _: reply("a")):
            assert [(await reader.run("bgpd", ["show a"])).text for _ in range(3)] == ["a", "a", "a"]
        assert reader.used == {"bgpd": "vty"}
        assert [(log["event"], log["daemon"], log["by"]) for log in logs] == [("frr_read_by", "bgpd", "vty")]

    async def test_vtysh_is_used_while_there_is_no_socket(self, tmp_path: Path, logs: list[Any]) -> None:
        """The log says why, and when the socket is used again."""
        reader = WithFallback(VtySockets(tmp_path), self._vtysh(tmp_path / "vtysh", "echo b"))
        assert (await reader.run("bgpd", ["show a"])).text == "b\n"
        assert (await reader.run("bgpd", ["show a"])).text == "b\n"
        async with VtyServer(tmp_path, lambda _: reply("a")):
            assert (await reader.run("bgpd", ["show a"])).text == "a"
        assert [(log["by"], "bgpd.vty may not be opened" in log.get("why", "")) for log in logs] == [
            ("vtysh", True),
            ("vty", False),
        ]

    async def test_a_broken_connection_is_not_retried_by_vtysh(self, tmp_path: Path) -> None:
        """No command runs twice."""
        reader = WithFallback(VtySockets(tmp_path), self._vtysh(tmp_path / "vtysh", "echo b"))
        async with VtyServer(tmp_path, lambda _: b"half"):
            with pytest.raises(TerminalError, match="closed the connection"):
                await reader.run("bgpd", ["show a"])
        assert reader.used == {}

    async def test_a_socket_file_without_listener_is_no_connection(self, tmp_path: Path) -> None:
        """As a killed daemon leaves it."""
        async with VtyServer(tmp_path, lambda _: reply()) as server:
            stale = tmp_path / "nhrpd.vty"
            stale.hardlink_to(server.path)
        with pytest.raises(NotConnected, match=r"nhrpd is not running.*nhrpd\.vty.*Connection refused"):
            await VtySockets(tmp_path).run("nhrpd", ["show a"])


class TestBgpd:
    """bgpd in trouble, behind its socket."""

    @staticmethod
    def _bgpd(directory: Path) -> FrrBgpd:
        vty = VtySockets(directory, timeout=0.2)
        return FrrBgpd(vty, vty, Instance(65000))

    @pytest.mark.parametrize("status", [0, 1])
    async def test_an_error_message_is_a_refusal_whatever_the_status(self, tmp_path: Path, status: int) -> None:
        """Some failures have status 0."""
        refused = {"clear bgp ipv4 unicast 10.255.0.2 soft in": reply("% BGP: Unknown neighbor\n", status)}
        async with VtyServer(tmp_path, _by_command(refused)):
            with pytest.raises(FrrRefused, match="% BGP: Unknown neighbor"):
                await self._bgpd(tmp_path).apply([RefreshInbound(_address(2)), RefreshInbound(_address(3))])

    async def test_a_failed_command_ends_the_batch(self, tmp_path: Path) -> None:
        """Half of the batch is written; the reconciler reads back."""
        answers = {"no ip prefix-list b": reply("", 1)}
        async with VtyServer(tmp_path, _by_command(answers)) as server:
            with pytest.raises(FrrRefused, match=r"no output \(status 1\)"):
                await self._bgpd(tmp_path).apply([RemoveList("a"), RemoveList("b"), RemoveList("c")])
            assert server.conversations[-1][1:] == [
                "configure terminal",
                "no ip prefix-list a",
                "no ip prefix-list b",
            ]

    @pytest.mark.parametrize("answer", [None, b"% half"])
    async def test_a_batch_without_reply_is_not_a_refusal(self, tmp_path: Path, answer: bytes | None) -> None:
        """It may be written or not."""
        async with VtyServer(tmp_path, _by_command({"no ip prefix-list b": answer})):
            with pytest.raises(FrrUnavailable):
                await self._bgpd(tmp_path).apply([RemoveList("a"), RemoveList("b")])

    @pytest.mark.parametrize("config", [b"", reply(), reply("oops"), reply(CONFIG, 1), reply(CONFIG)[:-3]])
    async def test_output_that_is_not_a_configuration_is_an_outage(self, tmp_path: Path, config: bytes) -> None:
        """Otherwise the agent would write everything again."""
        async with VtyServer(tmp_path, _by_command({"show running-config": config})):
            with pytest.raises(FrrUnavailable):
                await self._bgpd(tmp_path).observe()


async def test_nhrpd_is_read_by_its_socket(tmp_path: Path) -> None:
    """Its empty table has status 1."""
    nhrpd = FrrNhrpd(VtySockets(tmp_path), ["gre1"])
    row = '{"interface":"gre1","type":"dynamic","protocol":"10.255.0.2","nbma":"203.0.113.2"}'
    async with VtyServer(tmp_path, lambda _: reply(f'{{"table":[{row}]}}'), "nhrpd"):
        assert {one.protocol_address for one in await nhrpd.bindings(4, no_row)} == {_address(2)}
    async with VtyServer(tmp_path, lambda _: reply('{"table":[]}', 1), "nhrpd"):
        assert {one.protocol_address for one in await nhrpd.bindings(4, no_row)} == set()
    async with VtyServer(tmp_path, lambda _: b'{"table":[', "nhrpd"):
        with pytest.raises(NhrpdUnavailable, match="nhrpd closed the connection"):
            await nhrpd.bindings(4, no_row)
    with pytest.raises(NhrpdUnavailable, match="nhrpd is not running"):
        await nhrpd.bindings(4, no_row)


async def test_a_cache_that_shows_the_same_is_not_read_again(tmp_path: Path) -> None:
    """Rows that cannot be read are reported each time."""
    nhrpd, shown, skipped = FrrNhrpd(VtySockets(tmp_path), ["gre1"]), {"nbma": "203.0.113.2"}, list[str]()

    async def read() -> tuple[BindingRequest, ...]:
        return await nhrpd.bindings(4, skipped.append)

    def answer(_: str) -> bytes:
        row = {"interface": "gre1", "type": "dynamic", "protocol": "10.255.0.2", **shown}
        return reply(json.dumps({"table": [row]}))

    async with VtyServer(tmp_path, answer, "nhrpd"):
        first = await read()
        assert await read() is first
        shown["nbma"] = "203.0.113.3"
        assert [str(one.nbma_address) for one in await read()] == ["203.0.113.3"]
        shown["nbma"] = "unreadable"
        assert [await read() for _ in range(2)] == [(), ()]
        assert len(skipped) == 2


def _address(number: int) -> Address:
    return ip_address(f"10.255.0.{number}")


async def test_an_open_transaction_is_closed_first(tmp_path: Path) -> None:
    """At the start and after a batch that was cut off; not always, because it delays new neighbors."""
    whole = [AddEntry("a", seq, DENY_ANY) for seq in range(30)]
    closing = ["XFRR_start_configuration", "XFRR_end_configuration"]
    answers: dict[str, bytes | None] = {}
    async with VtyServer(tmp_path, _by_command(answers)) as server:
        vty = VtySockets(tmp_path)
        bgpd = FrrBgpd(vty, vty, Instance(65000))

        async def applied(*changes: Change) -> list[list[str]]:
            server.conversations.clear()
            with suppress(FrrRefused, FrrUnavailable):
                await bgpd.apply(changes)
            return [commands[2:4] for commands in server.conversations if commands[2:4] == closing]

        assert await applied(RemoveList("a")) == [closing]
        assert await applied(*whole) == []
        assert await applied(RemoveList("a")) == []
        answers["ip prefix-list a seq 7 deny any"] = b""
        assert await applied(*whole) == []
        assert await applied(RemoveList("a")) == [closing]
        assert await applied(RemoveList("a")) == []
