"""``setup``: what is known before a bundle is read or a token is used."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from dmvpn_agent.cli import setup as command
from dmvpn_agent.cli.main import main
from dmvpn_agent.setup.system import System
from dmvpn_agent.setup.workflow import Setup
from nodes import MACHINE


def _never(*_: object) -> NoReturn:
    raise AssertionError("it must not get here")


@pytest.mark.parametrize("words", [["bundle.pfx"], ["--enrol", "https://ca.example.com", "--token", "x"], ["--undo"]])
def test_a_user_other_than_root_is_told_that_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    """And not that a file of root's cannot be read."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(Setup, "observe", _never)
    assert main(["setup", *words]) == command.EXIT_REFUSED
    assert "FAULT: this user" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["/nowhere.pfx", "--for", "cisco-ios"], ["--undo"]])
def test_a_refusal_can_be_a_document(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    """With the same exit status."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main(["setup", "--json", *words]) == command.EXIT_REFUSED
    printed = json.loads(capsys.readouterr().out)
    assert (printed["ok"], printed["error"]["code"]) == (False, "refused")


def test_no_token_is_used_on_a_machine_that_lacks_something(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The certificate could not be put to use."""

    async def observed(_: Setup) -> System:
        return replace(MACHINE, frr_daemons=frozenset({"zebra", "bgpd", "staticd"}))

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(Setup, "observe", observed)
    monkeypatch.setattr(command, "enrol", _never)
    words = ["--enrol", "https://ca.example.com", "--token", "x", "--ca-fingerprint", "0" * 64]
    assert main(["setup", *words]) == command.EXIT_REFUSED
    assert "FAULT: FRR's nhrpd" in capsys.readouterr().err
