"""The operator's CA certificates and CRLs: what is read, what is refused, and what stays in force."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from dmvpn_agent.bridge.authority_files import AuthorityFiles
from dmvpn_agent.policy.chain_rules import ChainValidator
from dmvpn_agent.policy.decision import Deny
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.x509 import metrics, trust_watch
from dmvpn_agent.x509 import trust_paths as module
from dmvpn_agent.x509.ca_learning import MAX_VERIFICATIONS
from dmvpn_agent.x509.certificate_reader import read_certificate
from dmvpn_agent.x509.kept_trust import KeptTrust
from dmvpn_agent.x509.pem import der_blocks
from dmvpn_agent.x509.settings import TrustFiles
from dmvpn_agent.x509.trust import Trust
from dmvpn_agent.x509.trust_files import TrustFilesReader, read_trust
from dmvpn_agent.x509.trust_watch import PATIENCE, TrustWatch
from factories import NOW, POLICY, Clock, authority_pem, crl_pem, decide, key, request
from fakes.waiting import until
from pki import Party


@pytest.fixture
def files(tmp_path: Path) -> TrustFiles:
    (tmp_path / "ca").mkdir()
    (tmp_path / "crl").mkdir()
    (tmp_path / "ca" / "lab.pem").write_bytes(authority_pem())
    return TrustFiles((tmp_path / "ca",), (tmp_path / "crl",))


DAY = timedelta(days=1)
DATA = Path(__file__).parents[2] / "data"


def _judged(case: str, authorities: str, leaf: str) -> Deny:
    trust, _ = read_trust(TrustFiles((DATA / case / authorities,), (DATA / case / "crl",)))
    (der,) = der_blocks((DATA / case / leaf).read_bytes(), "CERTIFICATE", 1 << 20)
    at = datetime(2026, 12, 1, tzinfo=UTC)
    decision = decide(request(certificate=read_certificate(der)), now=at, trust=trust)
    assert isinstance(decision, Deny)
    return decision


def serials(trust: Trust) -> set[int]:
    return {serial for one in trust.crls for serial in one.serials}


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

    def test_a_clock_that_is_set_back_drops_no_revocation(self, files: TrustFiles) -> None:
        """A CRL in force stays in force, and the only one of its signer counts at once."""
        (files.crls[0] / "a.crl").write_bytes(crl_pem(7, number=2))
        clock, kept = Clock(NOW - 365 * DAY), KeptTrust(None)
        assert serials(TrustFilesReader(files, kept, clock=clock).read().trust) == {7}
        (files.crls[0] / "b.crl").write_bytes(crl_pem(number=1, update=NOW - 400 * DAY))
        assert serials(TrustFilesReader(files, kept, clock=clock).read().trust) == {7}

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


class Watch:
    """A watch over the files, and its calls."""

    def __init__(self, files: TrustFiles, telemetry: Telemetry) -> None:
        self.received: list[Any] = []
        self.watch = TrustWatch(TrustFilesReader(files), telemetry, self._load, self.received.append)
        self.watch.start()

    async def _load(self, crls: tuple[bytes, ...]) -> None:
        self.received.append(len(crls))


class TestIntermediates:
    """CAs that only peers send."""

    ROOT, SUB = Party("root"), Party("sub")

    @pytest.fixture
    def files(self, tmp_path: Path) -> TrustFiles:
        (tmp_path / "root.der").write_bytes(self.ROOT.authority().certificate.der)
        (tmp_path / "sub.crl").write_bytes(self.SUB.revoke_der(5))
        return TrustFiles((tmp_path / "root.der",), (tmp_path / "sub.crl",), tmp_path / "kept")

    async def test_an_intermediate_ca_counts_once_charon_has_it_and_after_a_restart(
        self, files: TrustFiles, telemetry: Telemetry
    ) -> None:
        """Its CRL counts too; a stranger's CA does not."""
        received: list[Trust] = []

        async def load(_: object) -> None: ...

        def watch() -> TrustWatch:
            return TrustWatch(TrustFilesReader(files, KeptTrust(files.kept)), telemetry, load, received.append)

        peer, running = self.SUB.leaf(5), watch()
        running.start()
        assert not running.trust.finder.chains(peer).found
        await running.learn([Party("root", "stranger").certify(self.SUB), b"\x30\x00"])
        assert received == []
        await running.learn([self.ROOT.certify(self.SUB, serial=9)])
        restarted = watch()
        restarted.start()
        for trust in (received[0], restarted.trust, read_trust(files)[0]):
            (chain,) = trust.finder.chains(peer).found
            assert [issuer.certificate.subject for issuer in chain.issuers] == ["CN=sub", "CN=root"]
            assert 5 in chain.issuers[0].crls[0].serials

    async def test_the_issuer_of_a_listed_ca_counts_once_it_is_learned(
        self, files: TrustFiles, telemetry: Telemetry
    ) -> None:
        """Until then the listed CA is a trust anchor; if the issuer is revoked, its peers are denied at once."""
        room, received = Party("room"), list[Reason | None]()
        (files.authorities[0].parent / "room.der").write_bytes(self.SUB.certify(room))
        (files.authorities[0].parent / "sub.crl").write_bytes(self.ROOT.revoke_der(9))
        files = replace(files, authorities=(*files.authorities, files.authorities[0].parent / "room.der"))

        def judge(trust: Trust) -> None:
            checks = ChainValidator(POLICY, trust).validate(room.leaf(), NOW).checks
            received.append(next((check.reason for check in checks if not check.passed), None))

        async def load(_: object) -> None: ...

        watch = TrustWatch(TrustFilesReader(files, KeptTrust(files.kept)), telemetry, load, judge)
        watch.start()
        judge(watch.trust)
        await watch.learn([self.ROOT.certify(self.SUB, serial=9)])
        assert received == [None, Reason.ISSUER_REVOKED]

    async def test_a_ca_learned_in_a_cancelled_call_counts_at_the_next_check(
        self, files: TrustFiles, telemetry: Telemetry
    ) -> None:
        """The caller may give up, because nhrpd waits for a reply."""
        received: list[Trust] = []
        hung = asyncio.Event()

        async def load(_: object) -> None:
            if not hung.is_set():
                hung.set()
                await asyncio.Event().wait()

        watch = TrustWatch(TrustFilesReader(files), telemetry, load, received.append)
        watch.start()
        learning = asyncio.create_task(watch.learn([self.ROOT.certify(self.SUB)]))
        await hung.wait()
        learning.cancel()
        await asyncio.gather(learning, return_exceptions=True)
        assert received == []
        await watch.check()
        assert [bool(trust.finder.chains(self.SUB.leaf()).found) for trust in received] == [True]

    def test_the_bridge_finds_honest_chains_through_a_flood(self, files: TrustFiles) -> None:
        """Strangers' certificates with the intermediate CA's name do not prevent it."""
        authorities = AuthorityFiles(files.authorities)
        stranger = Party("root", "stranger")
        flood = [stranger.certify(self.SUB, serial=number) for number in range(1, 2 * MAX_VERIFICATIONS)]
        false = Party("sub", "stranger").leaf().der
        honest = self.ROOT.certify(self.SUB)
        looks = [authorities.issued(self.SUB.leaf().der, (*flood, honest)) for _ in range(3)]
        assert looks == [False, True, True]
        assert authorities.issued(self.SUB.leaf(6).der, ())
        assert not authorities.issued(false, (*flood, honest))


class TestWatching:
    """Files change while the agent runs."""

    @pytest.fixture
    def watch(self, files: TrustFiles, telemetry: Telemetry) -> Watch:
        (files.crls[0] / "lab.crl").write_bytes(crl_pem(7))
        return Watch(files, telemetry)

    async def test_charon_has_the_crl_before_the_agent_acts_on_it(self, watch: Watch, files: TrustFiles) -> None:
        """A peer whose IKE_SA ends cannot return in between."""
        (files.crls[0] / "lab.crl").write_bytes(crl_pem(7, 8, number=2))
        await watch.watch.check()
        loaded, trust = watch.received
        assert (loaded, serials(trust)) == (1, {7, 8})

    async def test_a_charon_that_refuses_the_crl_keeps_no_peer_in(
        self, files: TrustFiles, telemetry: Telemetry
    ) -> None:
        """The agent uses the CRL in any case."""

        async def fail(_: object) -> None:
            raise IndexError

        received: list[Any] = []
        watch = TrustWatch(TrustFilesReader(files), telemetry, fail, received.append)
        watch.start()
        (files.crls[0] / "lab.crl").write_bytes(crl_pem(7, 8, number=2))
        await watch.check()
        assert [serials(trust) for trust in received] == [{7, 8}]

    async def test_a_half_written_ca_file_denies_no_peer(self, watch: Watch, files: TrustFiles) -> None:
        """A CA is dropped only if its file lacks it in two checks."""
        watched, (file,) = watch.watch, files.authorities[0].iterdir()
        whole = file.read_bytes()
        for part in (whole[:100], b"", whole):
            file.write_bytes(part)
            await watched.check()
        assert (watch.received, len(watched.trust.authorities)) == ([], 1)
        file.unlink()
        await watched.check()
        assert len(watched.trust.authorities) == 1
        await watched.check()
        assert (len(watch.received), len(watched.trust.authorities)) == (2, 0)

    async def test_a_ca_file_that_keeps_changing_counts_as_it_is(self, watch: Watch, files: TrustFiles) -> None:
        """After ``PATIENCE`` checks its content counts."""
        (file,) = files.authorities[0].iterdir()
        for number in range(PATIENCE + 1):
            file.write_bytes(b"x" * number)
            assert watch.watch.trust.authorities
            await watch.watch.check()
        assert watch.watch.trust.authorities == ()

    async def test_a_policy_comes_into_force_with_its_files(self, watch: Watch, files: TrustFiles) -> None:
        """A policy that requires CRLs is never in force without them; of two reloads the later counts."""
        by: list[Any] = []
        other = files.crls[0].parent / "other.crl"
        other.write_bytes(crl_pem(7, 9, number=3))
        watch.watch.reload(TrustFilesReader(files), lambda trust: by.append(("former", trust)))
        watch.watch.reload(
            TrustFilesReader(replace(files, crls=(other,))), lambda trust: by.append(("policy", serials(trust)))
        )
        assert by == []
        await watch.watch.check()
        await watch.watch.check()
        assert (by, watch.received) == ([("policy", {7, 9})], [1])

    async def test_a_disk_that_hangs_delays_no_policy(
        self, watch: Watch, files: TrustFiles, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nor does a watch that does not run."""
        monkeypatch.setattr(trust_watch, "RELOAD_TIMEOUT", 0)
        by: list[Trust] = []
        watch.watch.reload(TrustFilesReader(files), by.append)
        assert watch.watch.is_reloading
        await until(lambda: by)
        assert not watch.watch.is_reloading

    async def test_files_that_cannot_be_read_delay_no_policy(
        self, watch: Watch, files: TrustFiles, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The policy uses the former trust."""
        by: list[Trust] = []
        broken = TrustFilesReader(files)
        monkeypatch.setattr(broken, "read", lambda: 1 / 0)
        watch.watch.reload(broken, by.append)
        with pytest.raises(ZeroDivisionError):
            await watch.watch.check()
        assert by == [watch.watch.trust]

    async def test_an_unchanged_file_calls_no_callback(self, watch: Watch, files: TrustFiles) -> None:
        """Writing the same content again does not either."""
        await watch.watch.check()
        (files.crls[0] / "lab.crl").touch()
        await watch.watch.check()
        assert watch.received == []

    async def test_a_crl_that_vanishes_stays_in_force(
        self, watch: Watch, files: TrustFiles, logs: list[dict[str, Any]]
    ) -> None:
        """A missing file lets no peer in; it is logged once."""
        (files.crls[0] / "lab.crl").unlink()
        await watch.watch.check()
        (files.crls[0] / "other.txt").write_text("x")
        await watch.watch.check()
        assert serials(watch.watch.trust) == {7}
        assert [entry["event"] for entry in logs].count("crl_missing") == 1

    async def test_a_crl_that_breaks_stays_in_force(self, watch: Watch, files: TrustFiles) -> None:
        """Its last readable content counts."""
        (files.crls[0] / "lab.crl").write_bytes(b"half a fi")
        await watch.watch.check()
        assert serials(watch.watch.trust) == {7}
        assert watch.watch.problems

    def test_metrics_show_the_crls_in_force(self, watch: Watch, telemetry: Telemetry) -> None:
        """They have the number of revoked certificates and the nextUpdate."""
        del watch
        assert telemetry.value(metrics.CRL_REVOKED, "CN=test CA") == 1
        assert telemetry.value(metrics.CRL_NEXT_UPDATE, "CN=test CA") == (NOW + timedelta(days=7)).timestamp()
