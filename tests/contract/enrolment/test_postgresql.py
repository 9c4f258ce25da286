"""Enrolment with the registry in a real PostgreSQL."""

import threading
from pathlib import Path

import pytest

import postgresql
from enrolling import serving

pytestmark = [
    pytest.mark.contract,
    pytest.mark.skipif(postgresql.programs() is None, reason="no PostgreSQL with psycopg here"),
]


def test_tokens_renewal_and_a_locked_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of six racers with one token one gets a certificate, and renews it; behind another operator nobody gets one."""
    with postgresql.server() as database, serving(tmp_path, place=database.new_database()) as world:
        token, winners = world.node().token(), []

        def race() -> None:
            node = world.node()
            answer = node.enrol(token)
            if answer.status == 200:
                winners.append((node, answer.certificate))

        racers = [threading.Thread(target=race) for _ in range(6)]
        for one in racers:
            one.start()
        for one in racers:
            one.join()
        ((node, certificate),) = winners
        assert node.renew(certificate).status == 200
        assert (world.certificates(), len(world.audit())) == (2, 7)
        other = world.node("SWE-1")
        token = other.token()
        monkeypatch.setattr("dmvpn_agent.ca.database.LOCK_TIMEOUT", 1)
        with world.database.writing():
            answer = other.enrol(token)
        assert (answer.status, answer.headers["retry-after"]) == (503, "60")
        assert other.enrol(token).status == 200
