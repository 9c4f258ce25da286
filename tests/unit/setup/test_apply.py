"""Setup carried out on a folder in place of a machine: once, twice, and undone."""

import stat
from pathlib import Path

import pytest

from dmvpn_agent.setup.apply import ACCOUNT_FILES
from dmvpn_agent.setup.journal import Entry, Journal
from dmvpn_agent.setup.paths import AGENT_TOML, CONNECTIONS, OWN_FOLDER
from dmvpn_agent.setup.undo import changed_copy
from setup_world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_the_second_time_changes_nothing(world: World) -> None:
    world.set_up()
    after, starts = world.snapshot(), list(world.machine.starts)
    assert world.set_up().steps == ()
    assert world.snapshot() == after
    assert world.machine.starts == starts


def test_services_start_after_what_they_need(world: World) -> None:
    world.set_up()
    assert world.machine.starts == ["strongswan", "dmvpn-bridge", "dmvpn-agent", "frr"]


def test_the_key_is_readable_by_root_alone(world: World) -> None:
    world.set_up()
    assert stat.S_IMODE(world.disk.path("/etc/swanctl/private/node.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE(world.disk.path(OWN_FOLDER).stat().st_mode) == 0o700


def test_undo_leaves_the_machine_as_it_was(world: World) -> None:
    world.set_up()
    assert world.undo() == []
    assert world.is_as_before()


def test_undo_after_two_runs_with_an_operators_change_between_goes_back_to_the_beginning(world: World) -> None:
    """What they wrote, and setup merged, is in a copy."""
    world.set_up()
    world.disk.path(AGENT_TOML).write_text("# mine\n")
    world.set_up()
    world.undo()
    copy = world.disk.path(changed_copy(AGENT_TOML))
    assert copy.read_text().startswith("# mine\nrole = ")
    copy.unlink()
    assert world.is_as_before()


def test_undo_keeps_an_operators_version_of_a_file_that_a_later_run_replaced(world: World) -> None:
    """Which setup itself has kept only in its own folder."""
    world.set_up()
    file = world.disk.path(CONNECTIONS)
    file.write_text("# mine\n")
    journal = Journal(world.disk)
    journal.add(Entry("written", CONNECTIONS, "of another version"))
    world.set_up()
    assert file.read_text() != "# mine\n"
    world.undo()
    copy = world.disk.path(changed_copy(CONNECTIONS))
    assert copy.read_text() == "# mine\n"
    copy.unlink()
    assert world.is_as_before()


def test_undo_keeps_a_copy_of_what_was_changed_since(world: World) -> None:
    world.set_up()
    world.disk.path("/etc/frr/frr.conf").write_text("! mine\n")
    world.undo()
    assert world.disk.path(changed_copy("/etc/frr/frr.conf")).read_text() == "! mine\n"
    world.disk.path(changed_copy("/etc/frr/frr.conf")).unlink()
    assert world.is_as_before()


@pytest.mark.parametrize("folder", ["private", "x509", "x509ca"])
def test_swanctl_does_not_load_the_copy_of_a_changed_key_or_certificate(folder: str) -> None:
    """It loads every file in these folders, whatever its name."""
    copy = changed_copy(f"/etc/swanctl/{folder}/node.pem")
    assert copy.rpartition("/")[0] == "/etc/swanctl"
    assert folder in copy


def test_undo_leaves_accounts_that_came_since(world: World) -> None:
    world.set_up()
    passwd = world.disk.path("/etc/passwd")
    passwd.write_text(f"{passwd.read_text()}new:x:8:8::/:/bin/sh\n")
    world.undo()
    assert "new:x:8" in passwd.read_text()
    assert "/etc/passwd" in ACCOUNT_FILES
