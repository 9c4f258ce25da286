"""EST (RFC 7030) over TLS: who gets a certificate, which one, and who does not."""

import base64
import sqlite3
import ssl
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, pkcs7
from sqlalchemy import update

from dmvpn_agent.ca import schema
from dmvpn_agent.ca.reading import find_node
from dmvpn_agent.ca.revocation import Reason, release, revoke
from dmvpn_agent.ca.settings import ResourcesIn, Settings
from dmvpn_agent.enrolment import metrics
from dmvpn_agent.enrolment.limits import NODE_BURST, RECORD_BURST, Limits
from dmvpn_agent.runtime.clocks import Clocks, utc_now
from dmvpn_agent.x509.private_key import new_key
from enrolling import EST, World, request_of, serving


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with serving(tmp_path) as found:
        yield found


def test_the_ca_certificates_are_fetched(tmp_path: Path) -> None:
    """``cacerts`` has the issuing CA and the root."""
    with serving(tmp_path, new={"with_issuing": True}) as world:
        answer = world.ask("GET", f"{EST}/cacerts")
    assert answer.headers["content-type"] == "application/pkcs7-mime"
    found = pkcs7.load_der_pkcs7_certificates(base64.b64decode(answer.body))
    assert sorted(one.subject.rfc4514_string() for one in found) == [
        "CN=DMVPN issuing CA,O=DMVPN", "CN=DMVPN root CA,O=DMVPN",
    ]  # fmt: skip


def test_the_attributes_of_requests_are_a_sequence(world: World) -> None:
    """``csrattrs`` asks for a key of P-384."""
    answer = world.ask("GET", f"{EST}/csrattrs")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/csrattrs")
    body = base64.b64decode(answer.body)
    assert (body[0], body[1]) == (0x30, len(body) - 2)


@pytest.mark.parametrize("form", list(ResourcesIn))
def test_a_node_enrols_and_renews(tmp_path: Path, form: ResourcesIn) -> None:
    """By a token, then by its certificate, whatever that has: the key is the node's, the rest is the registry's."""
    with serving(tmp_path, Settings(resources_in=form), new={"with_issuing": True}) as world:
        node = world.node()
        first = node.enrol(node.token()).certificate
        second = node.renew(first, request_of(node.key, "FIN-1")).certificate
        assert first.public_key() == second.public_key() == node.key.public_key()
        assert first.serial_number != second.serial_number
        assert [row[1] for row in world.audit()] == ["enrol issued", "enrol issued"]
        telemetry = world.server.telemetry
        assert telemetry.value(metrics.ENROLMENTS, "est", "issued") == 2


def test_of_a_request_only_the_key_counts(world: World) -> None:
    """Foreign OUs and subjectAltNames do not get into the certificate."""
    node = world.node()
    wanted = request_of(
        node.key, "FIN-1", sans=("hub.example.com",), units=("Hubs", "NET=0.0.0.0/0", "GRE=10.255.0.9")
    )
    found = node.enrol(node.token(), request=wanted).certificate
    assert found.subject.rfc4514_string() == (
        "CN=FIN-1,OU=NET=10.1.0.0/16,OU=AS=64513,OU=GRE=10.255.0.1,OU=FIN,O=DMVPN"
    )
    with pytest.raises(x509.ExtensionNotFound):
        found.extensions.get_extension_for_class(x509.SubjectAlternativeName)


def test_a_token_is_for_one_key(world: World) -> None:
    """The same key gets the same certificate again, if the answer was lost; another key gets nothing."""
    node, token = world.node(), world.node().token()
    first = node.enrol(token).certificate
    assert node.enrol(token).certificate == first
    assert world.node().enrol(token).status == 401
    assert world.certificates() == 1
    assert [row[1] for row in world.audit()] == ["enrol issued", "enrol repeated", "enrol refused"]


def test_a_used_token_takes_nothing_from_its_node(world: World) -> None:
    """Whoever has it may ask with other keys as often as he likes: the node's own renewal is not limited by that."""
    node, token = world.node(), world.node().token()
    first = node.enrol(token).certificate
    assert {world.node().enrol(token).status for _ in range(NODE_BURST)} == {401}
    assert node.renew(first).status == 200


def test_a_node_gets_so_many_certificates_at_once(world: World) -> None:
    """Then 429; what it has it gets again, for the same key, as long as that is good."""
    node = world.node()
    first = node.enrol(node.token()).certificate
    request = request_of(new_key(), "FIN-1")
    second = node.renew(first, request).certificate
    statuses = [node.renew(first).status for _ in range(NODE_BURST)]
    assert statuses == [200] * (NODE_BURST - 2) + [429] * 2
    assert node.renew(first, request).certificate == second
    with world.database.writing() as connection:
        serial = f"{second.serial_number:x}"
        connection.execute(
            update(schema.certificate)
            .where(schema.certificate.c.serial == serial)
            .values(revoked_at=utc_now(), reason=Reason.SUPERSEDED)
        )
    assert node.renew(first, request).status == 429


def test_two_racers_with_one_token(world: World) -> None:
    """One of them gets a certificate."""
    token = world.node().token()
    statuses: list[int] = []
    racers = [threading.Thread(target=lambda: statuses.append(world.node().enrol(token).status)) for _ in range(6)]
    for one in racers:
        one.start()
    for one in racers:
        one.join()
    assert sorted(statuses) == [200, 401, 401, 401, 401, 401]
    assert world.certificates() == 1


@pytest.mark.parametrize("case", ["none", "unknown", "other user", "expired", "replaced", "revoked", "no basic"])
def test_no_certificate_without_a_valid_token(world: World, case: str) -> None:
    """Whatever is wrong with a token, the answer is the same."""
    node = world.node()
    token = node.token(now=utc_now() - timedelta(hours=25) if case == "expired" else None)
    if case == "replaced":
        node.token()
    if case == "revoked":
        with world.database.writing() as connection:
            found = find_node(connection, "FIN-1")
            revoke(connection, found.id, found.name, Reason.HOLD, utc_now(), required=False)
    headers = {"Authorization": "Bearer " + token} if case == "no basic" else {}
    used = {"none": "", "unknown": token[::-1]}.get(case, token)
    answer = node.enrol(used, user="SWE-1" if case == "other user" else None, headers=headers)
    assert (answer.status, answer.body) == (401, b"401 Unauthorized\nthe token is not valid\n")
    assert answer.headers["www-authenticate"].startswith("Basic ")
    assert (world.certificates(), [row[1] for row in world.audit()]) == (0, ["enrol refused"])


def test_credentials_that_are_no_base64_are_none(world: World) -> None:
    """Whatever octets they are, the client gets an answer."""
    for value in ("Basic \xff", "Basic !", "Basic /w==", "Basic"):
        assert world.node().enrol("", headers={"Authorization": value}).status == 401


def test_a_refused_request_does_not_use_the_token(world: World) -> None:
    """A bad signature, garbage, another node's name, a weak key: the node may try again."""
    node = world.node()
    token, good = node.token(), request_of(node.key, "FIN-1")
    tampered = good[:-1] + bytes([good[-1] ^ 1])
    weak = request_of(rsa.generate_private_key(65537, 1024), "FIN-1")
    for request in (tampered, b"", b"\x30\x00", request_of(node.key, "SWE-1"), good + b"\0"):
        assert node.enrol(token, request=request).status == 400
    assert node.enrol(token, headers={"Content-Type": "text/plain"}).status == 400
    assert node.enrol(token, request=weak).status == 403
    assert node.enrol(token).status == 200


def test_a_certificate_that_is_not_good_renews_nothing(world: World) -> None:
    """Revoked, on hold, of a node that was removed: 403; released, it does again."""
    node = world.node()
    first = node.enrol(node.token()).certificate
    with world.database.writing() as connection:
        found = find_node(connection, "FIN-1")
        revoke(connection, found.id, found.name, Reason.HOLD, utc_now())
    assert node.renew(first).status == 403
    with world.database.writing() as connection:
        release(connection, found.id, found.name, utc_now())
    assert node.renew(first).status == 200
    with world.database.writing() as connection:
        revoke(connection, found.id, found.name, Reason.KEY_COMPROMISE, utc_now())
    assert node.renew(first).status == 403


def test_without_a_certificate_nothing_is_renewed(world: World) -> None:
    """A token is no way to renew."""
    headers = {"Content-Type": "application/pkcs10"}
    assert world.ask("POST", f"{EST}/simplereenroll", b"AA==", headers).status == 403


@pytest.mark.parametrize("field", ["X-SSL-Client-Cert", "Ssl-Client-Cert", "X-Forwarded-Client-Cert", "Client-Cert"])
def test_a_certificate_in_a_field_of_http_renews_nothing(world: World, field: str) -> None:
    """As a reverse proxy sets it, or anybody: only TLS proves that the client has the key."""
    node = world.node()
    der = node.enrol(node.token()).certificate.public_bytes(Encoding.DER)
    for value in (quote(ssl.DER_cert_to_PEM_cert(der)), f":{base64.b64encode(der).decode()}:"):
        headers = {"Content-Type": "application/pkcs10", field: value}
        body = base64.encodebytes(request_of(new_key(), "FIN-1"))
        assert world.ask("POST", f"{EST}/simplereenroll", body, headers).status == 403
        assert world.ask("POST", f"{EST}/simpleenroll", body, headers).status == 401
    assert world.certificates() == 1


def test_a_field_of_http_is_no_address(tmp_path: Path) -> None:
    """Neither for the rate nor for the registry's log."""
    with serving(tmp_path, per_minute=2) as world:
        for number, status in enumerate((401, 401, 429)):
            fields = {"X-Forwarded-For": f"192.0.2.{number}", "Forwarded": f"for=192.0.2.{number}"}
            assert world.node().enrol("x", headers=fields).status == status
        assert {operator for operator, _, _ in world.audit()} == {"est 127.0.0.1"}


def test_a_certificate_that_the_registry_does_not_have_fails_in_tls(world: World, tmp_path: Path) -> None:
    """Another CA's of the same name is not let in, nor does the server's own renew."""
    (tmp_path / "other").mkdir()
    with serving(tmp_path / "other") as other:
        foreign = other.node()
        certificate = foreign.enrol(foreign.token()).certificate
    with pytest.raises((ssl.SSLError, ConnectionError)):
        world.node().renew(certificate, key=foreign.key)
    assert world.certificates() == 0


def test_an_expired_certificate_renews_nothing(tmp_path: Path) -> None:
    """It fails in TLS, or the registry refuses it."""
    then = utc_now() - timedelta(days=3)
    late = Clocks(now=lambda: then)
    with serving(tmp_path, Settings(node_days=1), clocks=late) as world:
        node = world.node()
        first = node.enrol(node.token()).certificate
        assert first.not_valid_after_utc < utc_now()
        with pytest.raises((ssl.SSLError, ConnectionError)):
            node.renew(first)


def test_without_tls_nobody_enrols(world: World) -> None:
    """The port without TLS has CRLs and CA certificates, and no EST."""
    token = world.node().token()
    headers = {"Authorization": "Basic " + base64.b64encode(f"FIN-1:{token}".encode()).decode()}
    assert world.ask_plain("POST", f"{EST}/simpleenroll", b"AA==", headers).status == 404
    assert world.ask_plain("GET", f"{EST}/cacerts").status == 404
    assert world.ask_plain("GET", "/ca.pem").status == 200


def test_a_locked_registry_refuses_for_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """503 with Retry-After; nothing is half done, and the token can be used afterwards."""
    monkeypatch.setattr("dmvpn_agent.ca.database.LOCK_TIMEOUT", 0.1)
    with serving(tmp_path) as world:
        node, token = world.node(), world.node().token()
        for lock in ("BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"):
            other = sqlite3.connect(tmp_path / "registry.sqlite", isolation_level=None)
            other.execute(lock)
            answer = node.enrol(token)
            other.close()
            assert (answer.status, answer.headers["retry-after"]) == (503, "60")
        assert world.certificates() == 0
        assert node.enrol(token).status == 200


def test_huge_bodies_are_not_read(world: World) -> None:
    """413, without reading to the end."""
    headers = {"Content-Type": "application/pkcs10"}
    assert world.ask("POST", f"{EST}/simpleenroll", b"A" * 70000, headers).status == 413


def test_one_address_may_ask_so_often(tmp_path: Path) -> None:
    """Then 429, which is counted, and does not fill the registry's log."""
    with serving(tmp_path, per_minute=2) as world:
        node = world.node()
        assert [node.enrol("x").status for _ in range(4)] == [401, 401, 429, 429]
        assert len(world.audit()) == 2
        assert world.server.telemetry.value(metrics.ENROLMENTS, "est", "rate") == 2


def test_strangers_do_not_fill_the_registry() -> None:
    """Of what is refused, a burst is written, and then one a minute."""
    now = 0.0
    limits = Limits(30, lambda: now)
    assert sum(limits.admits_record() for _ in range(1000)) == RECORD_BURST
    written = 0
    for _ in range(86_400):
        now += 1
        written += limits.admits_record()
    assert written in {1439, 1440}


def test_the_key_of_a_certificate_is_that_of_the_request(world: World) -> None:
    """A renewal with a new key is for the new key."""
    node, key = world.node(), new_key()
    first = node.enrol(node.token()).certificate
    second = node.renew(first, request_of(key, "FIN-1")).certificate
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert second.public_key().public_bytes(*form) == key.public_key().public_bytes(*form)
