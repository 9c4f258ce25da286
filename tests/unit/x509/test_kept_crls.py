"""CRLs against rollback: an older one never replaces a newer one, also after a restart or a lost file."""

import os
import threading
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from ssl import DER_cert_to_PEM_cert
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from dmvpn_agent.x509.kept_trust import KeptTrust
from dmvpn_agent.x509.settings import TrustFiles
from dmvpn_agent.x509.trust import Trust
from dmvpn_agent.x509.trust_files import TrustFilesReader, read_trust
from factories import NOW, Clock, crl_pem
from pki import Party
from trusting import DAY, ca_and_crls, serials


@pytest.fixture
def files(tmp_path: Path) -> TrustFiles:
    return ca_and_crls(tmp_path)


class TestKeptCrls:
    """What was in force stays in force until there is something newer."""

    def test_a_crl_of_the_future_replaces_no_other_before_its_time(self, files: TrustFiles) -> None:
        """A CA may sign CRLs in advance; until then the former CRL counts."""
        (files.crls[0] / "a.crl").write_bytes(crl_pem(7, number=1))
        (files.crls[0] / "b.crl").write_bytes(crl_pem(8, number=2, update=NOW + 10 * DAY))
        clock = Clock()
        reader = TrustFilesReader(files, KeptTrust(None), clock=clock)
        stamp = reader.stamp()
        read = reader.read()
        assert serials(read.trust) == {7}
        assert "number 2" in read.problems[0]
        assert reader.stamp() == stamp
        clock.advance(timedelta(days=10).total_seconds())
        assert reader.stamp() != stamp
        assert serials(reader.read().trust) == {8}

    @pytest.mark.parametrize("name", ["a.crl", "a.crt"])
    def test_only_files_are_read(self, tmp_path: Path, name: str) -> None:
        """Root reads what the agent's user may have put there: a FIFO without writer would stop it for ever."""
        os.mkfifo(tmp_path / name)
        reading = threading.Thread(target=KeptTrust(tmp_path, writes=False).crls, daemon=True)
        reading.start()
        reading.join(10)
        hangs = reading.is_alive()
        if hangs:
            os.close(os.open(tmp_path / name, os.O_WRONLY | os.O_NONBLOCK))
        assert not hangs

    def test_a_clock_that_is_set_back_drops_no_revocation(self, files: TrustFiles) -> None:
        """A CRL in force stays in force, and the only one of its signer counts at once."""
        (files.crls[0] / "a.crl").write_bytes(crl_pem(7, number=2))
        clock, kept = Clock(NOW - 365 * DAY), KeptTrust(None)
        assert serials(TrustFilesReader(files, kept, clock=clock).read().trust) == {7}
        (files.crls[0] / "b.crl").write_bytes(crl_pem(number=1, update=NOW - 400 * DAY))
        assert serials(TrustFilesReader(files, kept, clock=clock).read().trust) == {7}

    @pytest.mark.parametrize(
        "older",
        [{"number": 4, "update": NOW}, {"number": 6, "update": NOW - DAY}, {"number": 4, "update": NOW - DAY}],
    )
    def test_an_older_crl_never_replaces_a_newer_one(self, files: TrustFiles, older: dict[str, Any]) -> None:
        """Neither number nor date goes back, also after a restart; each attempt is counted."""
        kept = files.crls[0].parent / "kept"
        reader = TrustFilesReader(files, KeptTrust(kept))
        (files.crls[0] / "lab.crl").write_bytes(crl_pem(7, number=5, update=NOW))
        assert serials(reader.read().trust) == {7}
        (files.crls[0] / "lab.crl").write_bytes(crl_pem(8, **older))
        for running in (reader, TrustFilesReader(files, KeptTrust(kept))):
            read = running.read()
            assert serials(read.trust) == {7}
            (refused,) = read.rolled_back
            assert "(number 5, of 2026-03-01 12:00:00+00:00)" in refused
            assert str(kept) in refused
        (files.crls[0] / "lab.crl").write_bytes(crl_pem(9, number=6, update=NOW + DAY))
        read = reader.read()
        assert (serials(read.trust), read.rolled_back) == ({9}, ())

    def test_each_key_of_a_ca_has_a_newest_crl_of_its_own(self, files: TrustFiles) -> None:
        """A re-keyed CA keeps its name and begins to count anew; also after a restart, and without the files."""
        kept, former, present = files.crls[0].parent / "kept", Party("CA", "former"), Party("CA", "present")
        for number, one in enumerate((former, present)):
            (files.authorities[0] / f"{number}.pem").write_text(DER_cert_to_PEM_cert(one.certify(one)))
        paths = [files.crls[0] / name for name in ("former.crl", "present.crl")]
        crls = [_crl(former, 5, number=9, update=NOW), _crl(present, 6, number=1, update=NOW - DAY)]
        for path, crl in zip(paths, crls, strict=True):
            path.write_bytes(crl)
        read = TrustFilesReader(files, KeptTrust(kept)).read()
        assert (serials(read.trust), read.rolled_back, read.problems) == ({5, 6}, (), ())
        assert (len(list(kept.glob("*.crl"))), list(kept.glob("*-*.crl"))) == (2, [])
        for path in paths:
            path.unlink()
        assert serials(TrustFilesReader(files, KeptTrust(kept)).read().trust) == {5, 6}
        paths[0].write_bytes(_crl(former, number=8, update=NOW))
        paths[1].write_bytes(_crl(present, 7, number=2, update=NOW))
        read = TrustFilesReader(files, KeptTrust(kept)).read()
        assert (serials(read.trust), len(read.rolled_back)) == ({5, 7}, 1)

    @pytest.mark.parametrize("first", [5, None])
    def test_if_no_crl_of_a_signer_is_newer_all_count(self, files: TrustFiles, first: int | None) -> None:
        """This holds in any order and after a restart, until there is a newer one."""
        kept = files.crls[0].parent / "kept"
        (files.crls[0] / "a.crl").write_bytes(crl_pem(7, number=first))
        (files.crls[0] / "b.crl").write_bytes(crl_pem(number=5))
        reader = TrustFilesReader(files, KeptTrust(kept))
        assert serials(reader.read().trust) == {7}
        (files.crls[0] / "a.crl").write_bytes(crl_pem(8, number=5))
        for running in (reader, TrustFilesReader(files, KeptTrust(kept))):
            read = running.read()
            assert serials(read.trust) == {7, 8}
            assert [problem for problem in read.problems if "there are 3 different CRLs of" in problem]
            assert len(read.crls) == len(list(kept.glob("*.crl"))) == 3
        (files.crls[0] / "b.crl").write_bytes(crl_pem(9, number=6, update=NOW + DAY))
        read = TrustFilesReader(files, KeptTrust(kept)).read()
        assert (serials(read.trust), read.problems, len(list(kept.glob("*.crl")))) == ({9}, (), 1)

    def test_a_crl_that_vanished_while_the_agent_was_down_stays_in_force(self, files: TrustFiles) -> None:
        """Older CRLs beside the newest one are no rollback."""
        kept = files.crls[0].parent / "kept"
        (files.crls[0] / "old.crl").write_bytes(crl_pem(6, number=4, update=NOW - DAY))
        (files.crls[0] / "lab.crl").write_bytes(crl_pem(7, number=5))
        assert TrustFilesReader(files, KeptTrust(kept)).read().rolled_back == ()
        (files.crls[0] / "lab.crl").unlink()
        (files.crls[0] / "old.crl").unlink()
        read = TrustFilesReader(files, KeptTrust(kept)).read()
        assert (serials(read.trust), len(read.missing)) == ({7}, 1)

    def test_without_kept_crls_the_files_count(self, files: TrustFiles) -> None:
        """If the state is lost or cannot be written, the agent logs it, and nothing else fails."""
        (files.crls[0] / "lab.crl").write_bytes(crl_pem(7, number=5))
        kept = KeptTrust(files.authorities[0] / "lab.pem" / "kept")
        assert serials(TrustFilesReader(files, kept).read().trust) == {7}
        (files.crls[0] / "lab.crl").write_bytes(crl_pem(8, number=4))
        assert serials(TrustFilesReader(files, kept).read().trust) == {7}
        assert serials(TrustFilesReader(files, KeptTrust(None)).read().trust) == {8}

    def test_kept_crls_count_only_by_their_signature(self, files: TrustFiles) -> None:
        """A CA that is no longer trusted revokes nothing, and damaged files are skipped."""
        kept = files.crls[0].parent / "kept"
        (files.crls[0] / "lab.crl").write_bytes(crl_pem(7, number=5))
        TrustFilesReader(files, KeptTrust(kept)).read()
        (files.crls[0] / "lab.crl").unlink()
        (other,) = kept.glob("*.crl")
        other.with_name("x.crl").write_bytes(b"x")
        assert serials(TrustFilesReader(files, KeptTrust(kept)).read().trust) == {7}
        (files.authorities[0] / "lab.pem").unlink()
        assert TrustFilesReader(files, KeptTrust(kept)).read().trust == Trust(requires_chain=True)

    def test_a_ca_whose_file_vanishes_or_breaks_lets_no_peer_in(self, files: TrustFiles) -> None:
        """Also after a restart: charon's verification counts only if there never was a CA."""
        kept = KeptTrust(files.crls[0].parent / "kept")
        assert not read_trust(replace(files, authorities=()))[0].requires_chain
        authority = files.authorities[0] / "lab.pem"
        pem = authority.read_bytes()
        authority.unlink()
        reader = TrustFilesReader(files, kept)
        assert not reader.read().trust.requires_chain
        for data in (b"half a fi", pem):
            authority.write_bytes(data)
            assert reader.read().trust.requires_chain
        authority.unlink()
        assert reader.read().trust == Trust(requires_chain=True)
        assert reader.read().trust == Trust(requires_chain=True)
        assert TrustFilesReader(files, KeptTrust(files.crls[0].parent / "kept")).read().trust.requires_chain

    def test_a_state_directory_that_cannot_be_read_lets_no_peer_in(self, files: TrustFiles) -> None:
        """It may say that there was a CA: charon's verification alone does not count then."""
        (files.authorities[0] / "lab.pem").unlink()
        directory = files.crls[0].parent / ("long" * 100)  # its name is longer than a file system takes
        assert KeptTrust(directory).had_authorities
        assert TrustFilesReader(files, KeptTrust(directory)).read().trust == Trust(requires_chain=True)
        unreachable = replace(files, authorities=(directory,))
        assert TrustFilesReader(unreachable, KeptTrust(None)).read().trust.requires_chain


def _crl(by: Party, *revoked: int, number: int, update: datetime) -> bytes:
    """Return a CRL (DER) of the party."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(by.name)
        .last_update(update)
        .next_update(update + 7 * DAY)
        .add_extension(x509.CRLNumber(number), critical=False)
    )
    for serial in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(update).build()
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(by.private_key, SHA256()).public_bytes(Encoding.DER)
