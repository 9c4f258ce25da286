"""The whole renewal against an EST server that errs or attacks, with full disks, and killed at each step."""

import errno
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from dmvpn_agent.charon.session import CommandFailed
from dmvpn_agent.config.file import read_config
from dmvpn_agent.renewal.candidate import Judgement
from dmvpn_agent.renewal.est import public_octets, read_key
from dmvpn_agent.renewal.key_pair import KeyPair, KeyPairFiles
from dmvpn_agent.renewal.renewer import NotRenewed, Outcome, Renewer
from dmvpn_agent.renewal.schedule import due_at, retry_after
from dmvpn_agent.renewal.settings import RenewalSettings
from dmvpn_agent.renewal.state import RenewalState, read_state, state_from, write_state
from dmvpn_agent.runtime.clocks import utc_now
from dmvpn_agent.runtime.url import Url
from dmvpn_agent.x509.authorities import read_authority
from dmvpn_agent.x509.certificate import Certificate
from dmvpn_agent.x509.certificate_reader import read_certificate
from dmvpn_agent.x509.private_key import PrivateKey, new_key, plain_pem
from dmvpn_agent.x509.trust_store import TrustStore
from fakes.est import est_server
from fakes.http import FakeHttp, answer
from pki import Party, server_files

DAY = timedelta(days=1)
UNITS = ("GRE=10.255.0.2", "AS=64514", "NET=192.168.2.0/24")
CONFIG = {
    "role": "spoke",
    "policy": {"tunnel_networks": ["10.255.0.0/24"], "ca_certificates": ["/nowhere"]},
    "bgp": {"enabled": True, "as_number": 64514},
}


def units_name(units: Sequence[str], name: str) -> x509.Name:
    named = [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit) for unit in units]
    return x509.Name([*named, x509.NameAttribute(NameOID.COMMON_NAME, name)])


def authority(now: datetime, key: str = "") -> Party:
    return Party("Lab CA", key, dates=(now - 100 * DAY, now + 1000 * DAY))


class CharonSession:
    """charon's credentials, as far as they matter here."""

    def __init__(self, certificate: x509.Certificate) -> None:
        self.own = {certificate.public_bytes(Encoding.DER)}
        self.fixed = False
        self.reauthenticated = 0
        self.refuses = False

    async def request(self, command: str, message: Any) -> Any:
        if self.refuses and command == "load-key":
            raise CommandFailed("load-key: failed")
        if command == "load-cert":
            self.own.add(message["data"])
        if command == "get-keys":
            return {"keys": [_key_id(der).hex().encode() for der in self.own]}
        if command == "unload-key":
            self.own = {der for der in self.own if _key_id(der).hex() != message["id"]}
        return {}

    async def stream(self, command: str, _: Any, __: str, read: Callable[[Any], Any]) -> list[Any]:
        if command == "list-conns":
            certs = [b"x"] if self.fixed else []
            return list(read({"dmvpn": {"local-1": {"certs": certs}, "children": {}}}))
        if command == "list-certs":
            return [one for der in self.own for one in read({"data": der, "has_privkey": b"yes"})]
        return []


def _key_id(der: bytes) -> bytes:
    key = x509.load_der_x509_certificate(der).public_key()
    return x509.SubjectKeyIdentifier.from_public_key(key).digest


class Node:
    """A node whose certificate is due, and its CA's server."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.now = folder, utc_now().replace(microsecond=0)
        self.ca = authority(self.now)
        self.key = new_key()
        self.first = self.certificate(self.key, self.now - 80 * DAY, self.now + 20 * DAY)
        self.certificate_file, self.key_file = folder / "node.pem", folder / "key.pem"
        self.certificate_file.write_bytes(self.first.public_bytes(Encoding.PEM))
        self.key_file.write_bytes(plain_pem(self.key))
        self.key_file.chmod(0o600)
        self.charon = CharonSession(self.first)
        self.issue: Callable[[x509.CertificateSigningRequest], Sequence[x509.Certificate]] = self.good
        self.requested: list[x509.CertificateSigningRequest] = []
        own = server_files(folder)
        self.server_own = own[0].read_bytes(), own[1].read_bytes()
        (folder / "ca.pem").write_bytes(self.server_own[0])
        self.server: FakeHttp

    def certificate(
        self,
        key: PrivateKey | CertificatePublicKeyTypes,
        begin: datetime,
        end: datetime,
        units: Sequence[str] = UNITS,
        name: str = "spoke2",
        by: Party | None = None,
    ) -> x509.Certificate:
        by = by or self.ca
        public = key.public_key() if isinstance(key, PrivateKey) else key
        return (
            x509.CertificateBuilder()
            .subject_name(units_name(units, name))
            .issuer_name(by.name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .sign(by.private_key, SHA256())
        )

    def good(self, request: x509.CertificateSigningRequest, **changes: Any) -> list[x509.Certificate]:
        self.requested.append(request)
        values = {"begin": self.now - timedelta(hours=1), "end": self.now + 100 * DAY} | changes
        return [self.certificate(request.public_key(), **values)]

    def answered(self, request: x509.CertificateSigningRequest) -> Sequence[x509.Certificate]:
        return self.issue(request)

    def judgement(self) -> Judgement:
        trust = TrustStore([read_authority(self.ca.certify(self.ca))]).trust()
        return Judgement(read_config(CONFIG).policy, trust, self.now)

    async def run(self, *, at_once: bool = False) -> Outcome:
        settings = RenewalSettings(
            Url.parse(self.server.url), (self.folder / "ca.pem",), self.certificate_file, self.key_file,
            state=self.folder / "state",
        )  # fmt: skip

        @asynccontextmanager
        async def session() -> AsyncIterator[Any]:
            yield self.charon

        renewer = Renewer(settings, self.judgement, session, frozenset({"dmvpn"}), lambda: self.now)
        return await renewer.run(at_once=at_once)

    def on_disk(self) -> KeyPair:
        return KeyPairFiles(self.certificate_file, self.key_file, self.folder / "state").read()

    def state(self) -> RenewalState:
        return read_state(self.folder / "state")

    def is_untouched(self) -> bool:
        return self.on_disk().certificate == self.first and self.charon.own == {self.first.public_bytes(Encoding.DER)}


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Node]:
    node = Node(folder)
    clients = [node.first.public_bytes(Encoding.DER)]
    async with est_server(folder, node.server_own, clients, node.answered) as server:
        node.server = server
        yield node


async def test_a_certificate_that_is_due_is_renewed(tmp_path: Path) -> None:
    """With a new key, shown by the present certificate; charon has only the new one."""
    async with serving(tmp_path) as node:
        outcome = await node.run()
        new = node.on_disk()
        assert outcome.renewed
        assert node.charon.own == {new.der}
        assert new.certificate.subject == node.first.subject
        assert new.certificate.public_key() != node.first.public_key()
        assert node.requested[0].subject == node.first.subject
        assert node.server.clients == [node.first.public_bytes(Encoding.DER)]
        assert node.key_file.stat().st_mode & 0o777 == 0o600
        assert (await node.run()).renewed is False
        assert node.state().trouble == ""


async def test_nothing_is_asked_before_it_is_due(tmp_path: Path) -> None:
    """The certificate stays until two thirds of its lifetime; the state says when that is."""
    async with serving(tmp_path) as node:
        node.now -= 60 * DAY
        assert not (await node.run()).renewed
        assert node.server.requests == []
        due = node.state().due
        assert due is not None
        assert node.now < due < node.now + 60 * DAY


def other_key(node: Node) -> list[x509.Certificate]:
    return [node.certificate(new_key(), node.now, node.now + 100 * DAY)]


BAD: dict[str, Callable[[Node, x509.CertificateSigningRequest], Sequence[x509.Certificate]]] = {
    "no certificate of the key": lambda node, _: other_key(node),
    "CN=spoke3": lambda node, request: node.good(request, name="spoke3"),
    "protocol addresses": lambda node, request: node.good(request, units=("GRE=10.255.0.3", *UNITS[1:])),
    "AS numbers": lambda node, request: node.good(request, units=(UNITS[0], "AS=64515", UNITS[2])),
    "roles": lambda node, request: node.good(request, units=("Hubs", *UNITS)),
    "is for": lambda node, request: node.good(request, units=(*UNITS, "NET=0.0.0.0/0")),
    "set the clock": lambda node, request: node.good(request, begin=node.now + DAY),
    "not later": lambda node, request: node.good(request, end=node.now + 10 * DAY),
    "no chain": lambda node, request: node.good(request, by=authority(node.now, "forged")),
}


@pytest.mark.parametrize("why", BAD)
async def test_a_certificate_that_is_not_as_good_replaces_nothing(tmp_path: Path, why: str) -> None:
    """Of another key, node, address, role or CA, of another time, or shorter: files and charon stay as they are."""
    async with serving(tmp_path) as node:
        node.issue = lambda request: BAD[why](node, request)
        with pytest.raises(NotRenewed, match=why):
            await node.run()
        assert node.is_untouched()
        assert node.state().failures == 1
        assert why in node.state().trouble


ANSWERS = {
    "403 Forbidden: it is revoked": answer(b"it is revoked", "403 Forbidden", "Content-Type: text/plain"),
    "has not decided": answer(b"", "202 Accepted", "Retry-After: 60"),
    "redirect": answer(b"", "302 Found", "Location: https://192.0.2.1/"),
    "no certificate": answer(b"<html>"),
    "longer than": answer(b"A" * 10_000_000),
    "cut off": answer(b"MIIB" * 100)[:-10],
}


@pytest.mark.parametrize("why", ANSWERS)
async def test_an_answer_without_a_certificate_is_tried_again_later(tmp_path: Path, why: str) -> None:
    """With the same key, and not before some minutes; the reason is kept."""
    async with serving(tmp_path) as node:
        path = "/.well-known/est/simplereenroll"
        good = node.server.replies[path]
        node.server.replies[path] = ANSWERS[why]
        with pytest.raises(NotRenewed, match=why):
            await node.run()
        assert node.is_untouched()
        node.server.replies[path] = good
        assert not (await node.run()).renewed
        assert len(node.server.requests) == 1
        node.now += timedelta(minutes=10)
        assert (await node.run()).renewed
        assert node.state().failures == 0


async def test_a_server_of_another_ca_gets_nothing(tmp_path: Path) -> None:
    """TLS ends before the request; the certificate is never shown to a stranger's server."""
    async with serving(tmp_path) as node:
        other = x509.load_der_x509_certificate(node.ca.certify(node.ca))
        (tmp_path / "ca.pem").write_bytes(other.public_bytes(Encoding.PEM))
        with pytest.raises(NotRenewed, match="TLS"):
            await node.run()
        assert node.server.requests == []
        assert node.is_untouched()


async def test_the_key_of_a_lost_answer_is_asked_for_again(tmp_path: Path) -> None:
    """So that a CA that has issued already can give the same certificate."""
    async with serving(tmp_path) as node:

        def lost(request: x509.CertificateSigningRequest) -> list[x509.Certificate]:
            node.good(request)
            raise OSError

        node.issue = lost
        for _ in range(2):
            with pytest.raises(NotRenewed):
                await node.run(at_once=True)
        assert len(node.requested) == 2
        assert len({public_octets(request.public_key()) for request in node.requested}) == 1


async def test_a_charon_that_refuses_keeps_what_it_has(tmp_path: Path) -> None:
    """The files are new, the old key is still loaded; the next run tries again, and asks the CA for nothing."""
    async with serving(tmp_path) as node:
        node.charon.refuses = True
        with pytest.raises(NotRenewed, match="load-key"):
            await node.run()
        assert node.charon.own == {node.first.public_bytes(Encoding.DER)}
        assert node.on_disk().certificate != node.first
        node.charon.refuses = False
        await node.run()
        assert node.charon.own == {node.on_disk().der}
        assert len(node.requested) == 1


async def test_a_connection_with_a_fixed_certificate_is_refused(tmp_path: Path) -> None:
    """Before anything is asked of the CA."""
    async with serving(tmp_path) as node:
        node.charon.fixed = True
        with pytest.raises(NotRenewed, match="certs"):
            await node.run()
        assert node.server.requests == []


class Killed(BaseException):
    """The process ends at this point."""


async def test_killed_at_each_write_a_pair_that_fits_is_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """charon, if it starts then, finds the key of the certificate; the next run completes the renewal."""
    written = 0
    real = Path.replace

    def replace(self: Path, target: Path) -> Path:
        nonlocal written
        written += 1
        if written == stop:
            raise Killed
        return real(self, target)

    points = 0
    for stop in range(1, 30):
        folder = tmp_path / str(stop)
        folder.mkdir()
        async with serving(folder) as node:
            written = 0
            monkeypatch.setattr(Path, "replace", replace)
            try:
                await node.run()
                finished = True
            except Killed:
                finished = False
            monkeypatch.setattr(Path, "replace", real)
            if finished:
                break
            points += 1
            keys = [path for path in (node.key_file, folder / "key-new.pem") if path.exists()]
            own = x509.load_pem_x509_certificate(node.certificate_file.read_bytes())
            loaded = [public_octets(read_key(path.read_bytes()).public_key()) for path in keys]
            assert public_octets(own.public_key()) in loaded
            outcome = await node.run()
            assert outcome.state.trouble == ""
            assert node.on_disk().certificate != node.first
            assert not (folder / "key-new.pem").exists()
            assert node.charon.own == {node.on_disk().der}
    assert points >= 6


async def test_a_full_disk_at_each_write_leaves_a_pair_that_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And says so; with room again the renewal completes."""
    written = 0
    real = os.fsync

    def full(descriptor: int) -> None:
        nonlocal written
        written += 1
        if written == stop:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    reasons: set[str] = set()
    for stop in range(1, 30):
        folder = tmp_path / str(stop)
        folder.mkdir()
        async with serving(folder) as node:
            written = 0
            monkeypatch.setattr(os, "fsync", full)
            try:
                await node.run()
            except NotRenewed as error:
                reasons.add(str(error).partition("No space left")[1])
            monkeypatch.setattr(os, "fsync", real)
            assert node.on_disk().fits
            node.now += timedelta(minutes=10)
            await node.run()
            assert node.on_disk().certificate != node.first
            assert node.charon.own == {node.on_disk().der}
    assert reasons == {"No space left"}


async def test_a_key_that_does_not_fit_is_named(tmp_path: Path) -> None:
    """And nothing is asked: the CA could not be shown who this is."""
    async with serving(tmp_path) as node:
        node.key_file.write_bytes(plain_pem(new_key()))
        with pytest.raises(NotRenewed, match="is not the key of"):
            await node.run()
        assert node.server.requests == []


def test_certificates_made_together_are_due_at_different_times() -> None:
    """Between two thirds of the lifetime and a twentieth later, always the same for one certificate."""
    now = utc_now().replace(microsecond=0)
    ca = authority(now)
    found = [read_certificate(ca.certify(Party(f"n{i}", dates=(now, now + 100 * DAY)), ca=False)) for i in range(20)]
    due = [due_at(one) for one in found if isinstance(one, Certificate)]
    assert len(set(due)) == 20
    assert all(now + 66 * DAY < one < now + 72 * DAY for one in due)


def test_failures_are_tried_again_less_and_less_often_until_the_end_is_near() -> None:
    """From ten minutes to twelve hours, but ten times at least in the time that is left."""
    waits = [retry_after(failures, 30 * DAY) for failures in range(1, 12)]
    assert waits[0] == timedelta(minutes=10)
    assert waits == sorted(waits)
    assert waits[-1] == timedelta(hours=12)
    assert retry_after(12, timedelta(hours=5)) == timedelta(minutes=30)
    assert retry_after(12, -DAY) == timedelta(minutes=10)


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{", b'{"due": "yesterday"}', b'{"failures": "x"}', b'{"due": "2026-01-01"}', b"\xff" * 100]
)
def test_a_state_that_cannot_be_read_is_none(data: bytes) -> None:
    """The certificate says what is due."""
    assert state_from(data) == RenewalState()


def test_the_state_is_kept(tmp_path: Path) -> None:
    """As it was written."""
    state = RenewalState(utc_now(), utc_now(), None, utc_now(), 3, "no route", utc_now(), "ab")
    write_state(tmp_path, state)
    assert read_state(tmp_path) == state
