"""CRLs: what is in them, when they are due, and how they are published."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import select, update

from ca_registry import NOW, make_registry, signer_of
from dmvpn_agent.ca import schema
from dmvpn_agent.ca.authorities import issuing_authority, read_authorities
from dmvpn_agent.ca.crls import ROOT_CRL, latest_crl, lifetime_of, make_crl, publish, why_due
from dmvpn_agent.ca.database import Database
from dmvpn_agent.ca.errors import CaError
from dmvpn_agent.ca.issuing import issue
from dmvpn_agent.ca.metrics_text import metrics_text
from dmvpn_agent.ca.node import HUBS
from dmvpn_agent.ca.reading import find_node, read_settings
from dmvpn_agent.ca.revocation import Reason, release, revoke, supersede
from dmvpn_agent.ca.settings import Settings
from dmvpn_agent.ca.sites import add_node
from dmvpn_agent.x509.crl import read_crls
from dmvpn_agent.x509.private_key import new_key

HOUR = timedelta(hours=1)


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """With a hub."""
    settings = Settings(crl_urls=("http://crl.example/lists/net.crl",))
    database = make_registry(tmp_path / "r", settings, with_issuing=True)
    with database.writing() as connection:
        issue(connection, signer_of(connection), find_node(connection, add_node(connection, HUBS)),
              new_key().public_key(), NOW)  # fmt: skip
    return database


def revoked_in_next(database: Database, now: datetime = NOW) -> set[int]:
    with database.writing() as connection:
        signer = signer_of(connection, now)
        made = make_crl(connection, signer, lifetime_of(signer.authority, read_settings(connection)), now)
    (crl,) = read_crls(made.der)
    assert crl.number == made.number
    assert crl.next_update == made.next_update == now + 24 * HOUR
    return set(crl.serials)


def test_revoked_held_and_released(database: Database) -> None:
    """What is released is good again, what is revoked for good is not released."""
    with database.writing() as connection:
        node = find_node(connection, "Hub-1").id
        (serial,) = revoke(connection, node, "Hub-1", Reason.HOLD, NOW)
    assert revoked_in_next(database) == {int(serial, 16)}
    with database.writing() as connection:
        with pytest.raises(CaError, match="could be revoked"):
            revoke(connection, node, "Hub-1", Reason.HOLD, NOW)
        assert release(connection, node, "Hub-1", NOW) == [serial]
    assert revoked_in_next(database) == set()
    with database.writing() as connection:
        assert revoke(connection, node, "Hub-1", Reason.KEY_COMPROMISE, NOW) == [serial]
        with pytest.raises(CaError, match="on hold"):
            release(connection, node, "Hub-1", NOW)
        with pytest.raises(CaError, match="could be revoked"):
            revoke(connection, node, "Hub-1", Reason.SUPERSEDED, NOW)
    assert revoked_in_next(database) == {int(serial, 16)}


def test_a_held_certificate_can_be_revoked_for_good(database: Database) -> None:
    """With the final reason."""
    with database.writing() as connection:
        node = find_node(connection, "Hub-1").id
        assert revoke(connection, node, "Hub-1", Reason.HOLD, NOW) == revoke(
            connection, node, "Hub-1", Reason.KEY_COMPROMISE, NOW
        )


def test_a_key_that_proves_compromised_gets_nothing(database: Database) -> None:
    """Whatever its certificate was revoked for before, and if it ended; the time of the revocation stays."""
    with database.writing() as connection:
        node, signer = find_node(connection, "Hub-1"), signer_of(connection)
        keys = [new_key().public_key() for _ in range(3)]
        old, former, last = (issue(connection, signer, node, key, NOW) for key in keys)
        supersede(connection, node.id, former.serial_number, NOW)
        revoke(connection, node.id, node.name, Reason.UNSPECIFIED, NOW + HOUR)
        late = NOW + timedelta(days=1000)
        marked = revoke(connection, node.id, node.name, Reason.KEY_COMPROMISE, late)
        assert {f"{one.serial_number:x}" for one in (old, former, last)} < set(marked)
        rows = {row.serial: row for row in connection.execute(select(schema.certificate))}
        assert rows[f"{old.serial_number:x}"].revoked_at == NOW
        assert rows[f"{former.serial_number:x}"].revoked_at == NOW + HOUR
        for key in keys:
            with pytest.raises(CaError, match="compromised"):
                issue(connection, signer, node, key, NOW)
        with pytest.raises(CaError, match="could be revoked"):
            revoke(connection, node.id, node.name, Reason.KEY_COMPROMISE, late)


def test_a_certificate_that_ended_unrevoked_can_be_marked_compromised(database: Database) -> None:
    """Its key gets no certificate any more; for another reason there is nothing to revoke."""
    late = NOW + timedelta(days=1000)
    with database.writing() as connection:
        node = find_node(connection, "Hub-1").id
        with pytest.raises(CaError, match="could be revoked"):
            revoke(connection, node, "Hub-1", Reason.UNSPECIFIED, late)
        assert len(revoke(connection, node, "Hub-1", Reason.KEY_COMPROMISE, late)) == 1


def test_others_are_superseded(database: Database) -> None:
    """All but the one that is kept."""
    with database.writing() as connection:
        node = find_node(connection, "Hub-1")
        new = issue(connection, signer_of(connection), node, new_key().public_key(), NOW)
        assert len(supersede(connection, node.id, new.serial_number, NOW)) == 1
        assert supersede(connection, node.id, new.serial_number, NOW) == []
    assert new.serial_number not in revoked_in_next(database)


def test_numbers_rise_whatever_the_clock_and_the_backup_say(database: Database) -> None:
    """In the same second, with a clock set back, and after an older registry was restored."""
    numbers = []
    with database.writing() as connection:
        signer = signer_of(connection)
        for now in (NOW, NOW, NOW + HOUR, NOW - HOUR / 2, NOW + HOUR):
            numbers.append(make_crl(connection, signer, HOUR, now).number)
        connection.execute(update(schema.authority).values(crl_number=1))  # as in an old backup
        numbers.append(make_crl(connection, signer, HOUR, NOW + 2 * HOUR).number)
    assert numbers == sorted(set(numbers))


def test_when_a_crl_is_due(database: Database) -> None:
    """At half its time, or as soon as it does not say what the registry says."""
    with database.writing() as connection:
        authority = issuing_authority(connection)
        assert why_due(connection, authority, NOW) == ""
        assert "half of its time" in why_due(connection, authority, NOW + 12 * HOUR)
        assert "clock" in why_due(connection, authority, NOW - 2 * HOUR)
        revoke(connection, find_node(connection, "Hub-1").id, "Hub-1", Reason.HOLD, NOW)
        assert "revoked or released" in why_due(connection, authority, NOW)
    revoked_in_next(database)
    with database.reading() as connection:
        assert why_due(connection, authority, NOW) == ""


def test_init_makes_the_first_ones(database: Database, tmp_path: Path) -> None:
    """Also the root's about the issuing CA, valid for long; published under the name of the distribution point."""
    folder = tmp_path / "www"
    folder.mkdir()
    with database.reading() as connection:
        root, issuing = (latest_crl(connection, one) for one in read_authorities(connection))
        written = publish(connection, read_settings(connection), folder)
    assert root
    assert issuing
    assert root.next_update - root.this_update == ROOT_CRL
    assert sorted(path.name for path in folder.iterdir()) == ["dmvpn-root-ca.crl", "net.crl"]
    assert sorted(written) == sorted(folder.iterdir())
    assert (folder / "net.crl").read_bytes() == issuing.der
    assert (folder / "net.crl").stat().st_mode & 0o777 == 0o644


def test_a_folder_that_is_not_there_is_named(database: Database, tmp_path: Path) -> None:
    """The CRL is in the registry all the same."""
    with database.reading() as connection, pytest.raises(CaError, match=r"missing.*name a directory"):
        publish(connection, read_settings(connection), tmp_path / "missing")


def test_metrics_say_when_things_end(database: Database) -> None:
    """In the text format; every state is there, also with no node in it."""
    with database.writing() as connection:
        add_node(connection, HUBS)
        text = metrics_text(connection, NOW)
        late = metrics_text(connection, NOW + timedelta(days=340))
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["dmvpn_ca_crl_next_update_seconds", "issuing"] == (NOW + 24 * HOUR).timestamp()
    assert samples["dmvpn_ca_crl_next_update_seconds", "root"] == (NOW + ROOT_CRL).timestamp()
    assert samples["dmvpn_ca_not_after_seconds", "root"] == (NOW + timedelta(days=7300)).timestamp()
    states = {name[1]: value for name, value in samples.items() if name[0] == "dmvpn_ca_nodes"}
    assert states == {"good": 1, "none": 1, "expiring": 0, "expired": 0, "revoked": 0}
    assert 'dmvpn_ca_nodes{certificate="expiring"} 1' in late
