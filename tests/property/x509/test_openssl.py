"""For random small PKIs with CRLs the agent refuses what OpenSSL refuses, and accepts what OpenSSL accepts."""

import shutil
import subprocess
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dmvpn_agent.policy.chain_rules import ChainValidator
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.x509.authorities import Authority, AuthorityError, read_authorities
from dmvpn_agent.x509.certificate import Certificate
from dmvpn_agent.x509.certificate_reader import read_certificate
from dmvpn_agent.x509.crl import read_crls
from dmvpn_agent.x509.trust_store import TrustStore
from factories import NOW, YEAR, policy
from pki import PRINTABLE, UTF8, Party, usage

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")

STRICT = policy(requires_crl=True)
DAY = timedelta(days=1)
USAGES = (None, usage("key_cert_sign", "crl_sign"), usage("key_cert_sign"), usage("digital_signature"))


class World(NamedTuple):
    """A leaf, CA certificates from the root downwards, and CRLs; all in DER."""

    leaf: bytes
    authorities: tuple[bytes, ...]
    crls: tuple[bytes, ...]


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Two to four CAs in a row, some odd, with a CRL each or not; names encoded in any way.

    No root revokes itself: the agent denies then, and OpenSSL did so only before 3.6.
    """
    kinds = st.sampled_from([UTF8, PRINTABLE])
    cas = [Party(f"ca{number}", kind=draw(kinds)) for number in range(draw(st.integers(1, 3)))]
    if draw(st.integers(0, 5)) == 0:
        cas[-1] = replace(cas[-1], dates=(NOW - 2 * YEAR, NOW - YEAR))
    certificates = []
    for place, ca in enumerate(cas):
        by = cas[max(place - 1, 0)]
        extensions = [] if draw(st.integers(0, 3)) else [one for one in [draw(st.sampled_from(USAGES))] if one]
        length = draw(st.sampled_from([None, None, None, 0, 1]))
        constraints = x509.BasicConstraints(draw(st.integers(0, 9)) > 0, None)
        if constraints.ca:
            constraints = x509.BasicConstraints(True, length)
        by = replace(by, kind=draw(kinds), key=by.key if draw(st.integers(0, 9)) else "stranger")
        certificates.append(by.certify(ca, constraints, *extensions, serial=10 + place, ca=False))
    issuer = replace(cas[-1], kind=draw(kinds))
    serial = draw(st.integers(1, 3))
    leaf = issuer.certify(Party("spoke1", "leaf"), serial=serial, ca=False)
    crls = []
    for ca in cas:
        if draw(st.integers(0, 7)):
            serials = [1, 2, 11, 12, 50, *([] if ca is cas[0] else [10])]
            revoked = draw(st.lists(st.sampled_from(serials), unique=True, max_size=2))
            update = NOW - draw(st.sampled_from([1, 1, 1, 60, -5])) * DAY
            signer = ca if draw(st.integers(0, 9)) else replace(ca, key="stranger")
            crls.append(replace(signer, kind=draw(kinds)).revoke_der(*revoked, update=update))
    return World(leaf, tuple(certificates), tuple(crls))


def _openssl(world: World, folder: Path) -> bool:
    (root, *others), pem = world.authorities, Encoding.PEM
    load, load_crl = x509.load_der_x509_certificate, x509.load_der_x509_crl
    (folder / "root").write_bytes(load(root).public_bytes(pem))
    (folder / "others").write_bytes(b"".join(load(one).public_bytes(pem) for one in others))
    (folder / "crls").write_bytes(b"".join(load_crl(one).public_bytes(pem) for one in world.crls))
    (folder / "leaf").write_bytes(load(world.leaf).public_bytes(pem))
    with_crls = ("-CRLfile", "crls") if world.crls else ()
    with_others = ("-untrusted", "others") if others else ()
    command = ("openssl", "verify", "-partial_chain", "-crl_check_all", "-attime", str(int(NOW.timestamp())),
               "-CAfile", "root", *with_others, *with_crls, "leaf")  # fmt: skip
    return subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=60).returncode == 0


def _agent(world: World) -> Reason | None:
    authorities: list[Authority] = []
    for der in world.authorities:
        try:
            authorities += read_authorities(der)
        except AuthorityError:
            if der == world.authorities[0]:
                return Reason.UNTRUSTED_ISSUER
    crls = [crl for der in world.crls for crl in read_crls(der)]
    leaf = read_certificate(world.leaf)
    assert isinstance(leaf, Certificate)
    checks = (
        ChainValidator(STRICT, TrustStore(authorities[:1], authorities[1:], crls).trust()).validate(leaf, NOW).checks
    )
    return next((check.reason for check in checks if not check.passed), None)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(worlds())
def test_the_agent_and_openssl_agree(world: World) -> None:
    """They agree on chain, validity, key usage, path length and every CRL of the chain."""
    with TemporaryDirectory() as folder:
        accepted = _openssl(world, Path(folder))
    assert (_agent(world) is None) == accepted
