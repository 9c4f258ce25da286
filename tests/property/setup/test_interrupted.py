"""Setup, killed before and after each of its effects and in the middle of each write: run again, or undone."""

import os
import random
from pathlib import Path

import pytest

from dmvpn_agent.setup.apply import ACCOUNT_FILES, FORMER_ACCOUNT_FILES
from dmvpn_agent.setup.paths import OWN_FOLDER
from setup_world import Killed, World


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
