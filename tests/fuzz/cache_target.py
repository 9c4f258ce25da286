"""charon's cache as the bridge reads it, a stranger's certificate among honest ones; CRLs and CA certificates."""

import base64
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from datetime import timedelta
from ipaddress import ip_address
from random import Random
from typing import Any, TypeVar

from dmvpn_agent.bridge.certificate_index import CertificateIndex
from dmvpn_agent.bridge.certificates import Certificates
from dmvpn_agent.charon.sa import ChildSa, IkeSa
from dmvpn_agent.charon.session import Read
from dmvpn_agent.charon.vici import Section
from dmvpn_agent.explain.certificate_input import InputError, decode_certificate
from dmvpn_agent.runtime.clocks import Clocks
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.x509.authorities import AuthorityError, read_authorities
from dmvpn_agent.x509.certificate import BadCertificate, Certificate
from dmvpn_agent.x509.certificate_reader import read_certificate
from dmvpn_agent.x509.crl import CrlError, read_crls
from dmvpn_agent.x509.signer_cache import SignerCache
from dmvpn_agent.x509.trust_store import TrustStore
from factories import NOW, decide, policy, request
from fuzz.authority import certificates, crls, key
from fuzz.fields import by_field
from fuzz.mutate import blind, structured
from fuzz.seeds import CERTIFICATES, Node, tree
from fuzz.targets import Broken, check_certificate

T = TypeVar("T")


class Documents:
    """Makes changed certificates and CRLs: a field of a real one, an element anywhere, a byte anywhere."""

    def __init__(self, seeds: Sequence[bytes], signers: Sequence[str]) -> None:
        self._seeds = tuple(seeds)
        self._signers = tuple(signers)
        self._pool = tuple(node for seed in seeds for node in _flat(tree(seed)))

    def make(self, random: Random) -> bytes:
        """Return an input."""
        data = random.choice(self._seeds)
        for _ in range(random.choice((1, 1, 1, 2))):
            if random.random() < 0.7:
                sign = key(random.choice(self._signers)).sign if random.random() < 0.3 else None
                data = by_field(random, data, self._pool, sign)
            elif random.random() < 0.7 and (nodes := tree(data)):
                data = structured(random, nodes, self._pool)
            else:
                data = blind(random, data, self._seeds)
        return data


def _flat(nodes: tuple[Node, ...]) -> list[Node]:
    return [item for node in nodes for item in (node, *_flat(node.children))]


class Cache:
    """The bridge's whole reading of charon's cache: who is proved by what, by whom it was issued, what is stored."""

    def __init__(self) -> None:
        real = certificates()
        self._documents = Documents((*real.values(), *CERTIFICATES[:3]), ("root", "sub", "peer", "stranger"))
        self._real = (real["root"], real["sub"], real["honest"])
        self._honest = real["honest"]
        self._authorities = read_authorities(real["root"])
        self._crls = read_crls(crls()[1])
        self._signer_cache = SignerCache()
        (self._identity,) = _read(self._honest).identities

    def make(self, random: Random) -> bytes:
        """Return a stranger's certificate."""
        return self._documents.make(random)

    def check(self, data: bytes, random: Random) -> bool:
        """Read the cache with it; tell whether it is a certificate that proves something."""
        cache = [*self._real, data]
        random.shuffle(cache)
        known = CertificateIndex(cache)
        if [one.certificate.der for one in known.matching(self._identity) if one.certain] != [self._honest]:
            _same_name(data, self._identity)
        self._is_ours(data, cache)
        if not self._is_ours(self._honest, cache):
            raise Broken("the honest certificate does not chain any more")
        found = read_certificate(data)
        if isinstance(found, BadCertificate):
            return False
        check_certificate(found)
        for identity in found.identities:
            known.matching(identity)
        json.dumps([found.subject, found.issuer, f"{found.serial:x}", found.serial, str(found.not_after)])
        if random.randrange(10) == 0:
            self._learn(cache, (self._identity, *found.identities))
        return True

    def _is_ours(self, certificate: bytes, others: Sequence[bytes]) -> bool:
        """As the bridge does it, with the CA certificates of its configuration and those in charon's cache."""
        learned = TrustStore(self._authorities, signer_cache=self._signer_cache).learn(others)
        store = TrustStore(self._authorities, learned, self._crls, self._signer_cache)
        read = read_certificate(certificate)
        if isinstance(read, BadCertificate):
            return False
        chained = bool(store.chains(read).found)
        decide(request(certificate=read), policy(requires_crl=True), NOW, store.trust())
        return chained

    def _learn(self, cache: Sequence[bytes], identities: Iterable[str]) -> None:
        telemetry = Telemetry()
        service = Certificates(_Stored(), self._is_ours, telemetry, Clocks(now=lambda: NOW))
        run(service.learn(_Session(cache), [_sa(number, identity) for number, identity in enumerate(identities, 1)]))


def _read(der: bytes) -> Certificate:
    found = read_certificate(der)
    if isinstance(found, BadCertificate):
        raise Broken(found.why)
    return found


def _same_name(data: bytes, identity: str) -> None:
    """The stranger may have taken the honest one's name: then neither is certain to be the one."""
    found = read_certificate(data)
    if isinstance(found, BadCertificate) or not CertificateIndex([data]).matching(identity):
        raise Broken("the honest certificate proves its identity no more")


def _sa(number: int, identity: str) -> IkeSa:
    address = ip_address("203.0.113.0") + number
    return IkeSa(number, "dmvpn", "ESTABLISHED", address, address, 500, "CN=hub", identity, f"{number:x}", "0",
                 (ChildSa(number, "dmvpn", "INSTALLED"),), established_at=NOW - timedelta(minutes=1))  # fmt: skip


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run what never waits."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    raise Broken("it waits")


class _Stored:
    """What is stored must be what SQLite takes."""

    def load(self) -> Iterable[tuple[str, bytes, bytes]]:
        return ()

    def save(self, spis: str, local: bytes, remote: bytes) -> None:
        spis.encode()
        if not (type(local) is type(remote) is bytes):
            raise Broken("no octets are stored")

    def remove(self, spis: str) -> None: ...


class _Session:
    """A charon that shows a cache."""

    def __init__(self, cache: Sequence[bytes]) -> None:
        self._cache = cache

    async def request(self, command: str, message: Section) -> Section:
        return {"success": "yes"}

    async def stream(
        self, command: str, message: Section, event: str, read: Callable[[Section], Iterable[Read]]
    ) -> list[Read]:
        return [one for item in self._cache for one in read({"data": item})]

    async def register(self, event: str) -> bool:
        return True

    async def events(self) -> AsyncIterator[tuple[str, Section]]:
        return
        yield


class Crls:
    """``read_crls``, and the signature of what it reads."""

    def __init__(self) -> None:
        self._documents = Documents(crls(), ("root", "stranger"))
        real = certificates()
        self._authorities = (*read_authorities(real["root"]), *read_authorities(real["sub"]))
        self._honest = _read(real["honest"])

    def make(self, random: Random) -> bytes:
        """Return a file."""
        return self._documents.make(random)

    def check(self, data: bytes, random: Random) -> bool:
        """Read it; tell whether it was a CRL."""
        try:
            found = read_crls(data)
        except CrlError as error:
            _shown(str(error))
            return False
        store = TrustStore(self._authorities, crls=found)
        for one in store.unused:
            _shown(one.why)
        store.chains(self._honest)
        decide(request(certificate=self._honest), policy(requires_crl=True), NOW, store.trust())
        for crl in found:
            _shown(f"{crl.issuer} {crl.number} {crl.this_update} {crl.next_update}")
        return True


class Authorities:
    """``read_authorities``, and what ``explain`` takes for a certificate: files, in DER or PEM."""

    def __init__(self) -> None:
        self._documents = Documents(tuple(certificates().values()), ("root", "sub"))
        self._honest = _read(certificates()["honest"])

    def make(self, random: Random) -> bytes:
        """Return a file."""
        data = self._documents.make(random)
        if random.random() < 0.3:
            body = base64.encodebytes(data)
            pem = b"-----BEGIN CERTIFICATE-----\n" + body + b"-----END CERTIFICATE-----\n"
            return blind(random, pem, [pem]) if random.random() < 0.5 else pem
        return data

    def check(self, data: bytes, random: Random) -> bool:
        """Read it; tell whether it was a CA."""
        try:
            decode_certificate(data, "here")
        except InputError as error:
            _shown(str(error))
        try:
            found = read_authorities(data)
        except AuthorityError as error:
            _shown(str(error))
            return False
        TrustStore(found).chains(self._honest)
        return True


def _shown(text: str) -> None:
    if not text.isprintable() or len(text) > 3000:
        raise Broken(f"a text that cannot be shown: {text!r:.200}")
