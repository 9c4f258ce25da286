"""Reading nhrpd's cache and bgpd by a stub of vtysh."""

from ipaddress import ip_address
from pathlib import Path

import pytest

from dmvpn_agent.admission.bindings import NhrpdUnavailable
from dmvpn_agent.admission.frr_nhrpd import FrrNhrpd
from dmvpn_agent.bgp.bgpd import FrrUnavailable
from dmvpn_agent.bgp.frr_bgpd import FrrBgpd
from dmvpn_agent.bgp.settings import Instance
from dmvpn_agent.frr.vtysh import Vtysh
from fakes.bgpd_model import BgpdModel

ROW = '{{"interface":"{}","type":"{}","protocol":"{}","nbma":"203.0.113.2"}}'


def no_row(why: str) -> None:
    raise AssertionError(why)


def _nhrpd(path: Path, output: str, status: int = 0) -> FrrNhrpd:
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{output}\nEND\nexit {status}\n")
    path.chmod(0o755)
    return FrrNhrpd(Vtysh(str(path)), "gre1")


async def test_peers_on_the_tunnel_interface_are_bound(tmp_path: Path) -> None:
    """Only entries of this interface that come from peers: not nhrpd's own address."""
    rows = [
        ROW.format("gre1", "dynamic", "10.255.0.2"),
        ROW.format("gre1", "nhs", "10.255.0.3"),
        ROW.format("gre1", "cached", "10.255.0.4"),
        ROW.format("gre1", "local", "10.255.0.1"),
        ROW.format("gre1", "incomplete", "10.255.0.5"),
        ROW.format("gre2", "dynamic", "10.254.0.2"),
    ]
    nhrpd = _nhrpd(tmp_path / "vtysh", f'{{"attr":{{"entriesCount":6}},"table":[{",".join(rows)}]}}')
    assert {one.protocol_address for one in await nhrpd.bindings(4, no_row)} == {
        ip_address(f"10.255.0.{number}") for number in (2, 3, 4)
    }


@pytest.mark.parametrize("status", [0, 1])
async def test_an_empty_cache_has_no_peers_whatever_the_status(tmp_path: Path, status: int) -> None:
    """nhrpd ends with either."""
    nhrpd = _nhrpd(tmp_path / "vtysh", '{"attr":{"entriesCount":0},"table":[]}', status)
    assert {one.protocol_address for one in await nhrpd.bindings(4, no_row)} == set()


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("Exiting: failed to connect to any daemons.", "nhrpd is not running, or its vty socket may not be opened"),
        ("", "printed no JSON.*FRR said: no output"),
        ("% Unknown command", "FRR said: % Unknown command"),
    ],
)
async def test_output_that_is_not_a_cache_is_an_outage(tmp_path: Path, output: str, message: str) -> None:
    """An unknown cache is not an empty one."""
    with pytest.raises(NhrpdUnavailable, match=message):
        await _nhrpd(tmp_path / "vtysh", output, 1).bindings(4, no_row)


async def test_commands_reach_one_daemon_unchanged(tmp_path: Path) -> None:
    """No shell interprets them."""
    program = tmp_path / "vtysh"
    program.write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
    program.chmod(0o755)
    done = await Vtysh(str(program)).run("bgpd", ["show $HOME; `id`", "end"])
    assert done.text == "-d|bgpd|-c|show $HOME; `id`|-c|end|"


async def test_a_truncated_configuration_is_an_outage(tmp_path: Path) -> None:
    """After any line, with status 0: the missing neighbors are not gone."""
    lines = BgpdModel().running_config().rstrip().split("\n")
    program, printed = tmp_path / "vtysh", tmp_path / "printed"
    program.write_text(f'#!/bin/sh\ncase "$*" in *running*) cat {printed};; esac\n')
    program.chmod(0o755)
    bgpd = FrrBgpd(Vtysh(str(program)), Vtysh(str(program)), Instance(65000))
    for end in range(len(lines)):
        printed.write_text("\n".join(lines[:end]))
        with pytest.raises(FrrUnavailable, match=r"cut off|printed no configuration"):
            await bgpd.observe()
    printed.write_text("\n".join(lines))
    assert (await bgpd.observe()).config.as_number == 65000
