"""What a node by hand still lacks: placeholders in its files, names of hubs that nothing resolves."""

import asyncio
import json
import shutil
import socket
from pathlib import Path

import pytest

from dmvpn_agent.cli.main import main
from dmvpn_agent.doctor.check import Level
from dmvpn_agent.doctor.unfinished import mutual_hubs, read_placeholders, unresolved_hubs
from dmvpn_agent.doctor.unfinished_checks import hub_name_checks, mutual_hub_checks, placeholder_checks
from dmvpn_agent.frr.terminal import Reply

CHECKOUT = Path(__file__).parents[3]
ROW = '{"interface":"gre1","fqdn":"%s","nbma":"%s","protocol":"10.255.0.1"}'


class Nhrpd:
    """nhrpd's table of hubs."""

    def __init__(self, *rows: tuple[str, str]) -> None:
        self._rows = ",".join(ROW % row for row in rows)

    async def run(self, _: str, commands: tuple[str, ...]) -> Reply:
        rows = self._rows if commands[0].startswith("show ip ") else ""
        return Reply(0, '{"attr":{"entriesCount":1},"table":[' + rows + "]}")


def test_each_placeholder_of_the_files_to_start_from_is_named(tmp_path: Path) -> None:
    """With file and line; those in comments do not count."""
    for file, place in (("frr/spoke.conf", "frr/frr.conf"), ("deploy/gre1.interfaces", "network/interfaces.d/gre1")):
        (tmp_path / place).parent.mkdir(parents=True)
        shutil.copy(CHECKOUT / file, tmp_path / place)
    (tmp_path / "swanctl/conf.d").mkdir(parents=True)
    (tmp_path / "swanctl/conf.d/dmvpn.conf").write_text("# @FILLED_IN@\nid = someone@example.com\n")
    left = asyncio.run(read_placeholders(tmp_path))
    assert {one.split(",")[0].rpartition("/")[2] for one in left} == {"frr.conf", "gre1"}
    assert any(one.endswith(": @AS_NUMBER@") for one in left)
    (fault,) = placeholder_checks(left[:1])
    assert (fault.level, fault.found) == (Level.FAULT, left[0])


@pytest.mark.parametrize("role", ["hub", "spoke"])
def test_check_names_the_placeholders_of_the_configuration(role: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Also where they are no TOML."""
    assert main(["check", "--config", str(CHECKOUT / f"deploy/agent.{role}.toml")]) == 78
    printed = capsys.readouterr().err
    assert "placeholders that must be filled in" in printed
    assert "@TUNNEL_NETWORK@" in printed


def test_a_hub_that_dns_does_not_know_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that only nhrpd has not resolved is a warning; one with an address is neither."""

    async def look_up(_: object, name: str, *__: object, **___: object) -> list[object]:
        if name == "hub.invalid":
            raise socket.gaierror(-2, "Name or service not known")
        return []

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", look_up)
    rows = ("hub.invalid", "-"), ("hub2.example.com", "-"), ("203.0.113.1", "203.0.113.1")
    found = asyncio.run(unresolved_hubs(Nhrpd(*rows)))  # type: ignore[arg-type]
    assert found == {"hub.invalid": "Name or service not known", "hub2.example.com": ""}
    assert {one.name: one.level for one in hub_name_checks(found)} == {
        "hub hub.invalid": Level.FAULT,
        "hub hub2.example.com": Level.WARNING,
    }


@pytest.mark.parametrize(
    ("protocol", "kind", "found"),
    [("-", "dynamic", ("10.255.0.2",)), ("10.255.0.2", "nhs", ()), ("-", "cached", ())],
    ids=["both register", "only this one", "nobody"],
)
def test_hubs_that_register_with_each_other_are_a_fault(protocol: str, kind: str, found: tuple[str, ...]) -> None:
    """nhrpd refuses the later registration."""
    nhs = {"interface": "gre1", "fqdn": "203.0.113.2", "nbma": "203.0.113.2", "protocol": protocol}
    entry = {"interface": "gre1", "type": kind, "protocol": "10.255.0.2", "nbma": "203.0.113.2"}

    class Both:
        async def run(self, _: str, commands: tuple[str, ...]) -> Reply:
            row = nhs if "nhs" in commands[0] else entry
            rows = [row] if commands[0].startswith("show ip ") else []
            return Reply(0, json.dumps({"attr": {"entriesCount": len(rows)}, "table": rows}))

    assert asyncio.run(mutual_hubs(Both())) == found  # type: ignore[arg-type]
    assert [one.level for one in mutual_hub_checks(found)] == [Level.FAULT] * len(found)
