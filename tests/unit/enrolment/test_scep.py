"""SCEP (RFC 8894): who gets a certificate, and that nothing in the answers tells strangers anything."""

import base64
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from dmvpn_agent.ca.reading import find_node
from dmvpn_agent.ca.revocation import Reason, revoke
from dmvpn_agent.enrolment import metrics
from dmvpn_agent.enrolment.limits import NODE_BURST
from dmvpn_agent.enrolment.scep import CAPABILITIES
from dmvpn_agent.enrolment.signed_message import WeakAlgorithm, read_signed
from dmvpn_agent.runtime.clocks import utc_now
from dmvpn_agent.x509.private_key import new_key, plain_pem
from enrolling import World, serving
from scep_client import Client, Reply, new_rsa_key, scep_request, self_signed

MESSAGES = "/scep?operation=PKIOperation"
BAD_ALGORITHM, BAD_MESSAGE, BAD_REQUEST, BAD_ID = "0", "1", "2", "4"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with serving(tmp_path, scep=True, new={"with_issuing": True}) as found:
        yield found


@pytest.fixture
def client(world: World) -> Client:
    answer = world.ask_plain("GET", "/scep?operation=GetCACert")
    assert answer.headers["content-type"] == "application/x-x509-ca-ra-cert"
    found = {one.subject.rfc4514_string(): one for one in pkcs7.load_der_pkcs7_certificates(answer.body)}
    assert sorted(found) == ["CN=127.0.0.1,O=DMVPN", "CN=DMVPN issuing CA,O=DMVPN", "CN=DMVPN root CA,O=DMVPN"]
    return Client(found["CN=127.0.0.1,O=DMVPN"])


def send(world: World, client: Client, data: bytes) -> Reply:
    answer = world.ask_plain("POST", MESSAGES, data)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/x-pki-message"), answer.body
    return client.read(answer.body)


def enrol(world: World, client: Client, token: str, name: str = "FIN-1") -> Reply:
    return send(world, client, client.message(client.sealed(scep_request(client.key, token, name))))


def test_the_capabilities(world: World) -> None:
    """Nothing weak is offered."""
    assert world.ask_plain("GET", "/scep?operation=GetCACaps").body.decode() == CAPABILITIES
    assert not {"DES3", "SHA-1", "MD5"} & set(CAPABILITIES.split())


def test_a_router_enrols_and_renews(world: World, client: Client) -> None:
    """By its token, then by its certificate with a new key, whichever type the message has; over POST or GET."""
    first = enrol(world, client, world.node().token()).certificate
    assert first is not None
    assert first.subject.rfc4514_string().startswith("CN=FIN-1,OU=NET=10.1.0.0/16")
    for kind in ("17", "19"):
        following = Client(client.server, client.key, first)
        message = following.message(following.sealed(scep_request(new_rsa_key())), kind)
        assert send(world, following, message).status == "0"
    message = following.message(following.sealed(scep_request(new_rsa_key())))
    in_query = quote(base64.b64encode(message).decode())
    answer = world.ask_plain("GET", f"/cgi-bin/pkiclient.exe?operation=PKIOperation&message={in_query}")
    assert following.read(answer.body).status == "0"
    assert world.server.telemetry.value(metrics.ENROLMENTS, "scep", "issued") == 4
    assert [row[0].split()[0] for row in world.audit()] == ["scep"] * 4


def test_a_repeated_message_gets_the_same_certificate(world: World, client: Client) -> None:
    """Routers send it again if an answer was lost; with another key the token is used up."""
    token = world.node().token()
    first = enrol(world, client, token).certificate
    assert enrol(world, client, token).certificate == first
    other = Client(client.server)
    assert enrol(world, other, token).failure == BAD_REQUEST
    assert world.certificates() == 1


def test_a_repeated_renewal_gets_the_same_certificate(world: World, client: Client) -> None:
    """Whoever saw the message can send it again: that brings nothing new, and takes nothing from the node."""
    first = enrol(world, client, world.node().token()).certificate
    following = Client(client.server, client.key, first)
    message = following.message(following.sealed(scep_request(new_rsa_key())), "17")
    second = send(world, following, message).certificate
    for _ in range(NODE_BURST):
        assert send(world, following, message).certificate == second
    assert world.certificates() == 2
    own = following.message(following.sealed(scep_request(new_rsa_key())), "17")
    third = send(world, following, own).certificate
    assert third not in {None, first, second}


def test_who_gets_nothing(world: World, client: Client) -> None:
    """No token, a wrong one, one of another node, a revoked certificate."""
    assert enrol(world, client, "").failure == BAD_REQUEST
    assert enrol(world, client, "x" * 20).failure == BAD_REQUEST
    assert enrol(world, client, world.node("FIN-2").token(), "FIN-1").failure == BAD_MESSAGE
    first = enrol(world, client, world.node().token()).certificate
    with world.database.writing() as connection:
        node = find_node(connection, "FIN-1")
        revoke(connection, node.id, node.name, Reason.KEY_COMPROMISE, utc_now())
    former = Client(client.server, client.key, first)
    message = former.message(former.sealed(scep_request(former.key)), "17")
    assert send(world, former, message).failure == BAD_REQUEST
    assert world.certificates() == 1


def test_another_key_may_not_send_what_somebody_sealed(world: World, client: Client) -> None:
    """An eavesdropper cannot send a router's envelope as his own, to learn from the answer."""
    token = world.node().token()
    sealed = client.sealed(scep_request(client.key, token))
    thief = Client(client.server)
    assert send(world, thief, thief.message(sealed)).failure == BAD_MESSAGE
    assert world.certificates() == 0
    assert enrol(world, client, token).status == "0"


def test_what_cannot_be_read_is_always_refused_alike(world: World, client: Client) -> None:
    """Whichever octet of the envelope is changed: no answer tells whether padding, key or content is wrong."""
    good = client.sealed(scep_request(client.key, world.node().token()))
    answers = set()
    for at in (len(good) - 1, len(good) - 17, len(good) - 300, 150, 300):
        changed = good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]
        reply = send(world, client, client.message(changed))
        answers.add((reply.status, reply.failure, len(reply.body)))
    for content in (b"", b"\x30\x00", client.sealed(b""), client.sealed(b"no request")):
        reply = send(world, client, client.message(content))
        answers.add((reply.status, reply.failure, len(reply.body)))
    assert len(answers) == 1
    assert answers.pop()[:2] == ("2", BAD_MESSAGE)
    assert world.certificates() == 0


def test_what_comes_too_often_is_not_even_read(tmp_path: Path) -> None:
    """Neither its signature is verified nor a refusal signed; garbage counts as well."""
    with serving(tmp_path, scep=True, per_minute=2) as world:
        assert [world.ask_plain("POST", MESSAGES, b"0").status for _ in range(4)] == [400, 400, 429, 429]
        assert world.server.telemetry.value(metrics.ENROLMENTS, "scep", "rate") == 2


def test_other_operations_are_refused(world: World, client: Client) -> None:
    """No pending requests to poll for; CRLs are fetched by HTTP."""
    assert send(world, client, client.message(b"x", "20")).failure == BAD_ID
    for kind in ("21", "22", "3", "99"):
        assert send(world, client, client.message(b"x", kind)).failure == BAD_REQUEST
    assert world.ask_plain("GET", "/scep?operation=GetNextCACert").status == 400
    assert world.ask_plain("GET", "/scep").status == 400
    assert world.ask_plain("GET", "/scep?operation=PKIOperation&message=%21").status == 400


def test_what_is_no_message_is_refused(world: World, client: Client) -> None:
    """A wrong signature, missing attributes, a foreign signer, garbage: 400, before anything is decrypted."""
    good = client.message(client.sealed(scep_request(client.key)))
    broken = [good[:-1] + bytes([good[-1] ^ 1]), good + b"\0", good[:-1], b"", b"0", good.replace(b"nnn", b"mmm")]
    broken += [client.message(b"x", without=name) for name in ("nonce", "transaction", "kind")]
    for data in broken:
        assert world.ask_plain("POST", MESSAGES, data or b" ").status == 400
    assert world.audit() == []


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here")
def test_triple_des_is_refused(world: World, client: Client, tmp_path: Path) -> None:
    """Made by OpenSSL; the client learns that it is the algorithm."""
    (tmp_path / "ra.pem").write_bytes(client.server.public_bytes(Encoding.PEM))
    words = ["-encrypt", "-binary", "-outform", "DER", "-des3", str(tmp_path / "ra.pem")]
    request = scep_request(client.key, world.node().token())
    sealed = subprocess.run(["openssl", "cms", *words], input=request, capture_output=True, check=True).stdout
    assert send(world, client, client.message(sealed)).failure == BAD_ALGORITHM
    assert world.certificates() == 0


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here")
@pytest.mark.parametrize("digest", ["md5", "sha1", "sha224", "sha256", "sha384", "sha512"])
def test_messages_are_signed_with_sha_2(tmp_path: Path, digest: str) -> None:
    """What OpenSSL signs is read, if the digest is one that SCEP may use; a weak one is refused as such."""
    key = new_rsa_key()
    (tmp_path / "own.pem").write_bytes(plain_pem(key) + self_signed(key).public_bytes(Encoding.PEM))
    words = ["-sign", "-binary", "-nodetach", "-outform", "DER", "-md", digest, "-signer", str(tmp_path / "own.pem")]
    signed = subprocess.run(["openssl", "cms", *words], input=b"content", capture_output=True, check=True).stdout
    if digest in {"sha256", "sha384", "sha512"}:
        assert read_signed(signed).content == b"content"
    else:
        with pytest.raises(WeakAlgorithm):
            read_signed(signed)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here")
def test_a_request_signed_with_sha1_is_refused(world: World, client: Client, tmp_path: Path) -> None:
    """Also inside a message whose own signature is good."""
    (tmp_path / "key.pem").write_bytes(plain_pem(client.key))
    words = ["-new", "-sha1", "-key", "key.pem", "-config", "config", "-outform", "DER"]
    token = world.node().token()
    (tmp_path / "config").write_text(
        f"[req]\nprompt=no\ndistinguished_name=d\nattributes=a\n[d]\nCN=FIN-1\n[a]\nchallengePassword={token}\n"
    )
    request = subprocess.run(["openssl", "req", *words], capture_output=True, check=True, cwd=tmp_path).stdout
    assert send(world, client, client.message(client.sealed(request))).failure == BAD_MESSAGE
    assert world.certificates() == 0


def test_a_request_for_another_kind_of_key_is_refused(world: World, client: Client) -> None:
    """The key of the request signs the message, and SCEP encrypts for it: RSA."""
    request = scep_request(new_key(), world.node().token())
    assert send(world, client, client.message(client.sealed(request))).failure == BAD_MESSAGE


def test_without_the_option_there_is_no_scep(tmp_path: Path) -> None:
    """Neither with TLS nor without."""
    with serving(tmp_path) as world:
        assert world.ask_plain("GET", "/scep?operation=GetCACaps").status == 404
        assert world.ask("GET", "/scep?operation=GetCACaps").status == 404


def test_the_certificate_of_scep_stays_over_a_restart(tmp_path: Path) -> None:
    """Routers encrypt for the one that they know."""
    with serving(tmp_path, scep=True) as world:
        before = world.ask_plain("GET", "/scep?operation=GetCACert").body
        world.server.stop()
        world.server.start()
        assert world.ask_plain("GET", "/scep?operation=GetCACert").body == before


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here")
def test_openssl_reads_the_answer(world: World, client: Client, tmp_path: Path) -> None:
    """Its signature is good for OpenSSL, and its content is an envelope for the router."""
    body = enrol(world, client, world.node().token()).body
    (tmp_path / "root.pem").write_text(world.roots)
    (tmp_path / "chain.pem").write_bytes(world.ask_plain("GET", "/ca.pem").body)
    words = ["-verify", "-inform", "DER", "-CAfile", "chain.pem", "-purpose", "any", "-binary", "-out", "envelope"]
    done = subprocess.run(["openssl", "cms", *words], input=body, capture_output=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    text = subprocess.run(["openssl", "asn1parse", "-inform", "DER", "-in", "envelope"], capture_output=True,
                          check=True, cwd=tmp_path).stdout.decode()  # fmt: skip
    assert "pkcs7-envelopedData" in text
