"""Intermediate CAs that charon has from peers."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from dmvpn_agent.bridge.authority_files import AuthorityFiles
from dmvpn_agent.policy.chain_rules import ChainValidator
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.x509.ca_learning import MAX_VERIFICATIONS
from dmvpn_agent.x509.kept_trust import KeptTrust
from dmvpn_agent.x509.settings import TrustFiles
from dmvpn_agent.x509.trust import Trust
from dmvpn_agent.x509.trust_files import TrustFilesReader, read_trust
from dmvpn_agent.x509.trust_watch import TrustWatch
from factories import NOW, POLICY
from pki import Party


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
