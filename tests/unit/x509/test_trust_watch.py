"""The watch over the files of CA certificates and CRLs: when what is read comes into force."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.x509 import metrics, trust_watch
from dmvpn_agent.x509.settings import TrustFiles
from dmvpn_agent.x509.trust import Trust
from dmvpn_agent.x509.trust_files import TrustFilesReader
from dmvpn_agent.x509.trust_watch import PATIENCE, TrustWatch
from factories import NOW, crl_pem
from fakes.waiting import until
from trusting import Watch, ca_and_crls, serials


@pytest.fixture
def files(tmp_path: Path) -> TrustFiles:
    return ca_and_crls(tmp_path)


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
