"""The certificates of IKE_SAs, from charon or from the bridge."""

import asyncio
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dmvpn_agent.bridge.certificate_table import CertificateFile, CertificateTable
from dmvpn_agent.charon import sa_certificates as module
from dmvpn_agent.charon.sa import IkeSa
from dmvpn_agent.charon.sa_certificates import SaCertificates
from dmvpn_agent.runtime.sqlite_file import CHUNK
from dmvpn_agent.runtime.store import Store
from dmvpn_agent.x509.certificate_reader import read_certificate
from factories import NBMA, der

SA = IkeSa(1, "dmvpn", "ESTABLISHED", NBMA - 1, NBMA, 500, "CN=hub", "CN=spoke1", "1", "2")


class Source:
    """Knows some certificates, and records the requests."""

    def __init__(self, **known: bytes) -> None:
        self.known = {spis.replace("_", ":"): one for spis, one in known.items()}
        self.asked: list[str] = []

    async def load(self, spis: Collection[str]) -> Mapping[str, bytes]:
        self.asked += spis
        return {one: self.known[one] for one in spis if one in self.known}


class TestSaCertificates:
    """The certificates that the agent knows."""

    async def test_a_certificate_that_charon_lists_is_not_loaded(self) -> None:
        """A patched charon lists it with the IKE_SA."""
        source = Source()
        sa_certificates = SaCertificates(source)
        await sa_certificates.refresh([replace(SA, remote_certificate=der())])
        assert sa_certificates.of([replace(SA, remote_certificate=der())]) == (read_certificate(der()),)
        assert source.asked == []

    async def test_a_known_certificate_is_not_loaded_again(self) -> None:
        """The certificate of an IKE_SA does not change; one that was not found is loaded later."""
        source = Source()
        sa_certificates = SaCertificates(source)
        await sa_certificates.refresh([SA])
        assert sa_certificates.of([SA]) == ()
        source.known = {"1:2": der()}
        for _ in range(2):
            await sa_certificates.refresh([SA])
            assert sa_certificates.of([SA]) == (read_certificate(der()),)
        assert source.asked == ["1:2", "1:2"]

    async def test_a_certificate_that_the_bridge_did_not_find_is_not_awaited(self) -> None:
        """The bridge stores it empty; it may still find one, so the agent loads it again."""
        source = Source(**{"1_2": b""})
        sa_certificates = SaCertificates(source)
        assert not sa_certificates.are_known([SA])
        await sa_certificates.refresh([SA])
        assert sa_certificates.are_known([SA])
        assert sa_certificates.of([SA]) == ()
        source.known = {"1:2": der()}
        await sa_certificates.refresh([SA])
        assert sa_certificates.of([SA]) == (read_certificate(der()),)

    async def test_a_source_that_hangs_holds_up_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Refreshes go on without its certificates, and ask it again."""
        monkeypatch.setattr(module, "READ_TIMEOUT", 0.02)
        answers = asyncio.Event()

        class Hanging(Source):
            async def load(self, spis: Collection[str]) -> Mapping[str, bytes]:
                found = await super().load(spis)
                await answers.wait()
                return found

        source = Hanging(**{"1_2": der()})
        sa_certificates = SaCertificates(source)
        await sa_certificates.refresh([SA])
        assert sa_certificates.awaits(SA)
        answers.set()
        while sa_certificates.awaits(SA):
            await sa_certificates.refresh([SA])

    async def test_two_refreshes_at_once_ask_once(self) -> None:
        """What one of them found is no news to the other: news has all peers judged again."""
        source = Source(**{"1_2": der()})
        sa_certificates = SaCertificates(source)
        await asyncio.gather(*(sa_certificates.refresh([SA]) for _ in range(3)))
        assert (source.asked, sa_certificates.version) == (["1:2"], 1)

    async def test_a_certificate_is_forgotten_with_its_ike_sa(self) -> None:
        """If the IKE_SA is listed again, its certificate is loaded again."""
        source = Source(**{"1_2": der()})
        sa_certificates = SaCertificates(source)
        await sa_certificates.refresh([SA])
        sa_certificates.update([])
        await sa_certificates.refresh([SA])
        assert source.asked == ["1:2", "1:2"]

    async def test_an_update_while_the_file_is_read_is_not_undone(self) -> None:
        """What it added stays known, and what it removed stays unknown."""
        shown = replace(SA, initiator_spi="3", remote_certificate=der())
        source = Source(**{"1_2": der()})
        sa_certificates = SaCertificates(source)
        await sa_certificates.refresh([SA])

        class Interrupted(Source):
            async def load(self, spis: Collection[str]) -> Mapping[str, bytes]:
                sa_certificates.update([shown])
                return await super().load(spis)

        sa_certificates._source = Interrupted()
        await sa_certificates.refresh([replace(SA, initiator_spi="5")])
        assert sa_certificates.of([replace(shown, remote_certificate=b"")]) == (read_certificate(der()),)
        assert not sa_certificates.are_known([SA])

    async def test_an_unreadable_certificate_does_not_count(self) -> None:
        """It is not loaded again either."""
        source = Source(**{"1_2": b"nonsense"})
        sa_certificates = SaCertificates(source)
        for _ in range(2):
            await sa_certificates.refresh([SA])
            assert sa_certificates.of([SA]) == ()
        assert source.asked == ["1:2"]


class TestCertificateFile:
    """The bridge's file."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store[str, tuple[bytes, bytes]]]:
        store = Store(tmp_path / "bridge.sqlite", CertificateTable.TABLE)
        store.open()
        yield store
        store.close()

    def test_a_certificate_that_the_bridge_just_wrote_is_found(
        self, store: Store[str, tuple[bytes, bytes]], tmp_path: Path
    ) -> None:
        """The bridge has its file open; unknown SPIs are left out."""
        table = CertificateTable(store)
        reader = CertificateFile(tmp_path / "bridge.sqlite")
        assert reader.load(["1:2"]) == {}
        for number in range(CHUNK + 1):
            table.save(f"{number}:2", b"", b"%d" % number)
        store.flush()
        found = reader.load([f"{number}:2" for number in range(CHUNK + 5)])
        assert (len(found), found["1:2"]) == (CHUNK + 1, b"1")
        table.save("1:2", b"", b"renewed")
        store.flush()
        assert reader.load(["1:2"]) == {"1:2": b"renewed"}

    def test_without_a_bridge_no_certificate_is_found(self, tmp_path: Path) -> None:
        """No file is created."""
        assert CertificateFile(tmp_path / "bridge.sqlite").load(["1:2"]) == {}
        assert list(tmp_path.iterdir()) == []

    def test_an_unreadable_file_is_logged_once(self, tmp_path: Path, logs: list[dict[str, Any]]) -> None:
        """The agent goes on: nhrpd sends most certificates itself."""
        (tmp_path / "bridge.sqlite").write_bytes(b"nonsense" * 200)
        reader = CertificateFile(tmp_path / "bridge.sqlite")
        assert (reader.load(["1:2"]), reader.load(["1:2"])) == ({}, {})
        assert [entry["event"] for entry in logs] == ["bridge_certificates_unreadable"]
