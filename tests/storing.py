"""Stores in a file, for tests."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dmvpn_agent.bridge.certificate_table import CertificateTable
from dmvpn_agent.runtime.store import Store

PADDING = b"x" * 3000
TABLE = CertificateTable.TABLE
CertificateStore = Store[str, tuple[bytes, bytes]]


@contextmanager
def opened(path: Path) -> Iterator[CertificateStore]:
    store = Store(path, TABLE)
    store.open()
    try:
        yield store
    finally:
        store.close()


def stored(path: Path) -> set[str]:
    with opened(path) as store:
        return keys(store)


def keys(store: CertificateStore) -> set[str]:
    return {name for name, _ in store.load()}


def save(store: CertificateStore, *names: str) -> None:
    for name in names:
        store.save(name, (b"", b"x"))
    store.flush()


def fill(path: Path, count: int = 20) -> None:
    with opened(path) as store:
        for number in range(count):
            store.save(str(number), (b"", PADDING))


class Hanging(CertificateStore):
    """Its disk answers once it is released."""

    def __init__(self, path: Path, **options: Any) -> None:
        super().__init__(path, TABLE, **options)
        self.writing, self.released = threading.Event(), threading.Event()

    def _write(self, *words: Any, **more: Any) -> None:
        self.writing.set()
        self.released.wait()
        super()._write(*words, **more)
