"""The certificates of each IKE_SA, kept while it lives: through rekeying, and across restarts of either daemon."""

from collections.abc import Iterable, Set
from typing import Protocol

from dmvpn_agent.runtime.backoff import Trouble

#: Local and remote certificate (DER); empty if unknown.
CertificatePair = tuple[bytes, bytes]


class CertificateStore(Protocol):
    """Stores certificates by the IKE_SA's SPIs."""

    def load(self) -> Iterable[tuple[str, bytes, bytes]]:
        """Return SPIs, local and remote certificate of each IKE_SA."""

    def save(self, spis: str, local: bytes, remote: bytes) -> None:
        """Store an IKE_SA's certificates; both are empty if the bridge looked for them and found none."""

    def remove(self, spis: str) -> None:
        """Remove an IKE_SA, if it is stored."""


class IkeSaCertificates:
    """Certificates by the IKE_SA's SPIs, in memory and in the store."""

    def __init__(self, store: CertificateStore) -> None:
        self._store = store
        self._pairs: dict[str, CertificatePair] = {}
        self._not_found: dict[str, Trouble] = {}

    def load(self) -> None:
        """Read the store."""
        stored = list(self._store.load())
        self._pairs = {spis: (local, remote) for spis, local, remote in stored if remote}
        self._not_found = {spis: Trouble() for spis, _, remote in stored if not remote}

    def __len__(self) -> int:
        return len(self._pairs)

    def __contains__(self, spis: str) -> bool:
        return spis in self._pairs

    def of(self, spis: str) -> CertificatePair:
        """Return an IKE_SA's certificates."""
        return self._pairs.get(spis, (b"", b""))

    def verdict(self, spis: str) -> bytes | None:
        """Return the peer's certificate; empty if none was found, ``None`` if it was not looked for yet."""
        if spis in self._pairs:
            return self._pairs[spis][1]
        return b"" if spis in self._not_found else None

    def keep(self, spis: str, pair: CertificatePair) -> None:
        """Store an IKE_SA's certificates."""
        self._pairs[spis] = pair
        self._store.save(spis, *pair)

    def note_not_found(self, spis: str, why: str) -> bool:
        """Store that an IKE_SA has none, so that the agent need not wait for it; return whether the reason is new."""
        if not self._not_found.setdefault(spis, Trouble()).is_new(why):
            return False
        self._store.save(spis, b"", b"")
        return True

    def forget(self, spis: str) -> None:
        """Remove an IKE_SA."""
        pair, trouble = self._pairs.pop(spis, None), self._not_found.pop(spis, None)
        if pair is not None or trouble is not None:
            self._store.remove(spis)

    def forget_all_but(self, present: Set[str]) -> None:
        """Remove all IKE_SAs but these."""
        for spis in (self._pairs.keys() | self._not_found.keys()) - present:
            self.forget(spis)
