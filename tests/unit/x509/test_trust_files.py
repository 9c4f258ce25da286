"""The operator's CA certificates and CRLs: what is read, and what is refused."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from dmvpn_agent.policy.decision import Deny
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.x509 import trust_paths as module
from dmvpn_agent.x509.certificate_reader import read_certificate
from dmvpn_agent.x509.pem import der_blocks
from dmvpn_agent.x509.settings import TrustFiles
from dmvpn_agent.x509.trust import Trust
from dmvpn_agent.x509.trust_files import TrustFilesReader, read_trust
from factories import NOW, crl_pem, decide, key, request
from trusting import DATA, ca_and_crls, serials


@pytest.fixture
def files(tmp_path: Path) -> TrustFiles:
    return ca_and_crls(tmp_path)


def _judged(case: str, authorities: str, leaf: str) -> Deny:
    trust, _ = read_trust(TrustFiles((DATA / case / authorities,), (DATA / case / "crl",)))
    (der,) = der_blocks((DATA / case / leaf).read_bytes(), "CERTIFICATE", 1 << 20)
    at = datetime(2026, 12, 1, tzinfo=UTC)
    decision = decide(request(certificate=read_certificate(der)), now=at, trust=trust)
    assert isinstance(decision, Deny)
    return decision


class TestReading:
    """Files are read into what is in force."""

    def test_a_crl_of_a_known_ca_is_in_force(self, files: TrustFiles) -> None:
        """It is read from a directory, in PEM."""
        (files.crls[0] / "lab.crl").write_bytes(crl_pem(7, 8))
        trust, problems = read_trust(files)
        assert (serials(trust), problems) == ({7, 8}, ())

    def test_a_ca_in_one_file_with_its_key_counts_and_is_reported(self, files: TrustFiles) -> None:
        """The problem says to move the key away."""
        file = files.authorities[0] / "lab.pem"
        file.write_bytes(key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + file.read_bytes())
        trust, problems = read_trust(files)
        assert len(trust.authorities) == 1
        assert problems == (f"{file}: contains a private key; move it away, it is not needed here",)

    def test_a_pkcs12_file_among_the_cas_is_reported(self, files: TrustFiles) -> None:
        """The problem says what to do."""
        file = files.authorities[0] / "hub.pfx"
        file.write_bytes(b"\x30\x82\x04\x00\x02\x01\x03\x30")
        trust, problems = read_trust(files)
        assert len(trust.authorities) == 1
        assert problems == (
            f"{file}: it is a PKCS #12 file (.p12, .pfx): extract the certificates with `openssl pkcs12`;"
            " expected CA certificates in PEM or DER",
        )

    def test_a_forged_crl_does_not_count(self, files: TrustFiles) -> None:
        """The issuer's name is not enough; the problem names the file."""
        (files.crls[0] / "lab.crl").write_bytes(crl_pem(7, signed_by=ec.generate_private_key(ec.SECP256R1())))
        trust, (problem,) = read_trust(files)
        assert not trust.crls
        assert "lab.crl" in problem
        assert "policy.ca_certificates" in problem

    def test_the_newest_crl_counts(self, files: TrustFiles) -> None:
        """File names do not matter; a later CRL can take a revocation back."""
        (files.crls[0] / "a.crl").write_bytes(crl_pem(7, number=2))
        (files.crls[0] / "b.crl").write_bytes(crl_pem(8, number=10))
        (files.crls[0] / "c.crl").write_bytes(crl_pem(9, number=3, update=NOW + timedelta(days=1)))
        assert serials(read_trust(files)[0]) == {8}

    def test_a_file_that_is_no_crl_is_a_problem_and_the_others_count(self, files: TrustFiles) -> None:
        """One bad file does not affect the good ones."""
        (files.crls[0] / "lab.crl").write_bytes(crl_pem(7))
        (files.crls[0] / "notes.txt").write_text("call Bob")
        trust, (problem,) = read_trust(files)
        assert serials(trust) == {7}
        assert "notes.txt" in problem

    def test_a_file_that_is_being_written_is_skipped(self, files: TrustFiles) -> None:
        """Its name begins with a dot until it is renamed."""
        (files.crls[0] / ".lab.crl.tmp").write_bytes(crl_pem(7)[:100])
        assert read_trust(files) == (read_trust(files)[0], ())

    def test_a_crl_too_long_for_charon_is_reported_and_in_force(self, files: TrustFiles) -> None:
        """VICI carries 65,535 bytes."""
        (files.crls[0] / "lab.crl").write_bytes(crl_pem(*range(1, 4000)))
        trust, problems = read_trust(files)
        assert (len(serials(trust)), problems) == (3999, ())
        trust, (problem,) = read_trust(replace(files, charon_crl_limit=65535))
        assert len(serials(trust)) == 3999
        assert "and charon takes 65535 at most over VICI" in problem

    def test_a_crl_of_a_crl_signer_is_in_force(self) -> None:
        """The signer has the CA's name and is issued by the CA (RFC 5280, section 6.3.3, f), as in dmvpn-tools."""
        denied = _judged("crl-signer", "x509ca", "swe1.pem")
        assert (denied.reason, denied.found) == (Reason.CERTIFICATE_REVOKED, "6")

    def test_sha1_is_named(self) -> None:
        """The messages about the CRL and about the certificate name it."""
        _, (problem,) = read_trust(TrustFiles((DATA / "sha1" / "ca",), (DATA / "sha1" / "crl",)))
        assert (
            "sha1.crl: the CRL of O=Example is signed with SHA-1 (sha1WithRSAEncryption), which is refused" in problem
        )
        denied = _judged("sha1", "ca", "leaf.pem")
        assert denied.reason is Reason.UNTRUSTED_ISSUER
        assert "the certificate is signed with SHA-1 (sha1WithRSAEncryption), which is refused" in denied.found

    def test_a_missing_crl_path_is_a_problem_and_a_missing_ca_path_is_not(self, tmp_path: Path) -> None:
        """The operator gave the former; the latter has a default."""
        _, problems = read_trust(TrustFiles((tmp_path / "no-ca",), (tmp_path / "no-crl",)))
        assert problems == (f"{tmp_path / 'no-crl'}: no such file or directory",)

    def test_a_directory_that_may_not_be_read_is_a_problem(
        self, files: TrustFiles, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The agent continues, and the problem says what to check."""
        monkeypatch.setattr(
            Path, "iterdir", lambda _: (_ for _ in ()).throw(PermissionError(13, "Permission denied"))
        )
        trust, problems = read_trust(files)
        assert trust == Trust(requires_chain=True)
        assert all("Permission denied; check that the agent's user may read it" in problem for problem in problems)
        assert TrustFilesReader(files).stamp() == ()

    def test_a_file_that_is_too_long_is_a_problem(self, files: TrustFiles, monkeypatch: pytest.MonkeyPatch) -> None:
        """The bound holds for CA certificates and CRLs."""
        monkeypatch.setattr(module, "MAX_FILE_BYTES", 10)
        (files.crls[0] / "lab.crl").write_bytes(crl_pem(7))
        _, problems = read_trust(files)
        assert len(problems) == 2
        assert all("longer than 10 bytes" in problem for problem in problems)

    def test_a_changed_file_has_another_stamp(self, files: TrustFiles) -> None:
        """So has a new, a replaced and a removed file."""
        reader = TrustFilesReader(files)
        stamps = [reader.stamp()]
        path = files.crls[0] / "lab.crl"
        path.write_bytes(crl_pem(7))
        stamps.append(reader.stamp())
        other = files.crls[0] / ".new"
        other.write_bytes(crl_pem(7))
        other.rename(path)
        stamps.append(reader.stamp())
        path.unlink()
        stamps.append(reader.stamp())
        assert len(set(stamps[:3])) == 3
        assert stamps[3] == stamps[0]
