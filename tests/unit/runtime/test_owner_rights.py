"""Whose rights root uses for a file."""

import os
import pwd
from pathlib import Path

import pytest

from dmvpn_agent.runtime.owner_rights import owner_of

USER = pwd.getpwnam("daemon")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_an_owner_has_its_own_group_and_not_roots(tmp_path: Path) -> None:
    """A folder that was given to a user without a group still has root's."""
    os.chown(tmp_path, USER.pw_uid, 0)
    owner = owner_of(tmp_path / "registry.sqlite")
    assert owner is not None
    assert tuple(owner) == (USER.pw_uid, USER.pw_gid)
    assert 0 not in owner.groups
