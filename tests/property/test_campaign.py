"""The agent in random worlds gives the answers, and writes the filters, that the documents ask for."""

import pytest

pytest.importorskip("OpenSSL", reason="the oracle asks OpenSSL; deploy/lab/setup.sh installs it")

from campaign.__main__ import live

WORLDS = 300


@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", range(4))
def test_no_random_world_has_a_wrong_accept_or_denial(part: int) -> None:
    """``make campaign`` runs more of them, and ``campaign.__main__`` shows the one of a seed."""
    found = [finding for seed in range(1 + part, 1 + WORLDS, 4) for finding in live(seed).findings]
    assert not found
