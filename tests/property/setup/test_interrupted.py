"""Setup, killed before and after each of its effects and in the middle of each write: run again, or undone."""

import os
import random
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from dmvpn_agent.setup.apply import ACCOUNT_FILES, FORMER_ACCOUNT_FILES
from dmvpn_agent.setup.paths import AGENT_TOML, OWN_FOLDER
from dmvpn_agent.setup.undo import changed_copy
from nodes import ANSWERS
from setup_world import Killed, World

ALLOWED = (ip_network("100.64.0.0/10"),)


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed process loses nothing that it wrote: only a power cut needs fsync."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


#: Every how many-th point is tried, beginning at a random one.
_STEP = 1 if os.environ.get("HYPOTHESIS_PROFILE") == "thorough" else 8


def _points(effects: int) -> range:
    return range(random.randint(1, _STEP), 2 * effects + 1, _STEP)


def _effects(tmp_path: Path) -> int:
    world = World(tmp_path / "counted")
    world.restart()
    world.set_up()
    return world.fuse.effects


def test_killed_at_any_point_it_can_be_run_again_and_undone(tmp_path: Path) -> None:
    """Each effect is interrupted before it and after it, and a write in its middle."""
    whole = World(tmp_path / "whole")
    whole.set_up()
    wanted = {path: one for path, one in whole.snapshot().items() if not path.startswith(OWN_FOLDER[1:])}
    for point in _points(_effects(tmp_path)):
        world = World(tmp_path / f"at-{point}")
        world.restart(point)
        with pytest.raises(Killed):
            world.set_up()
        world.restart()
        world.set_up()
        found = {path: one for path, one in world.snapshot().items() if not path.startswith(OWN_FOLDER[1:])}
        accounts = {path.lstrip("/") for path in (*ACCOUNT_FILES, *FORMER_ACCOUNT_FILES)}
        assert {path: one for path, one in found.items() if path not in accounts} == {
            path: one for path, one in wanted.items() if path not in accounts
        }, point
        assert {"dmvpn-agent", "dmvpn-bridge"} <= world.machine.active, point
        assert world.plan().steps == (), point
        world.undo()
        assert world.is_as_before(), point


def test_killed_at_any_point_it_can_be_undone_at_once(tmp_path: Path) -> None:
    for point in _points(_effects(tmp_path)):
        world = World(tmp_path / f"at-{point}")
        world.restart(point)
        with pytest.raises(Killed):
            world.set_up()
        world.restart()
        world.undo()
        assert world.is_as_before(), point


def test_undo_killed_at_any_point_can_be_run_again(tmp_path: Path) -> None:
    counted = World(tmp_path / "undone")
    counted.set_up()
    counted.restart()
    counted.undo()
    for point in _points(counted.fuse.effects):
        world = World(tmp_path / f"at-{point}")
        world.set_up()
        world.restart(point)
        with pytest.raises(Killed):
            world.undo()
        world.restart()
        world.undo()
        assert world.is_as_before(), point


def _second_run(root: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Return a world that is set up, with an operator's changes in ``agent.toml``, before other answers."""
    monkeypatch.setattr("setup_world.ANSWERS", ANSWERS)
    world = World(root)
    world.set_up()
    file = world.disk.path(AGENT_TOML)
    file.write_text(
        file.read_text().replace('level = "info"', 'level = "debug"  # ours') + "\n[gre_guard]\nmode = 'enforce'\n"
    )
    monkeypatch.setattr("setup_world.ANSWERS", replace(ANSWERS, as_number=65123, allowed_networks=ALLOWED))
    return world


def test_a_second_run_killed_at_any_point_keeps_an_operators_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one ends with the file that an uninterrupted one writes; undo leaves it as a copy."""
    whole = _second_run(tmp_path / "whole", monkeypatch)
    whole.restart()
    whole.set_up()
    effects, wanted = whole.fuse.effects, whole.disk.path(AGENT_TOML).read_text()
    assert all(one in wanted for one in ('"debug"  # ours', "mode = 'enforce'", "65123", str(ALLOWED[0])))
    for point in _points(effects):
        world = _second_run(tmp_path / f"at-{point}", monkeypatch)
        world.restart(point)
        with pytest.raises(Killed):
            world.set_up()
        world.restart()
        world.set_up()
        assert world.disk.path(AGENT_TOML).read_text() == wanted, point
        assert world.plan().steps == (), point
        world.undo()
        copy = world.disk.path(changed_copy(AGENT_TOML))
        assert copy.read_text() == wanted, point
        for one in world.root.rglob(copy.name.replace("agent.toml", "*")):
            one.unlink()  # of frr.conf too, if setup was killed before it noted that it had written it
        assert world.is_as_before(), point
