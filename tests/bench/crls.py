"""Large CRLs: reading, look-up, memory, and how long the event loop waits while the files are read."""

import asyncio
import gc
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SIZES = (1_000, 10_000, 100_000)
_PAGE = os.sysconf("SC_PAGE_SIZE")
#: Seconds between two readings of the clock; any longer, and the loop was blocked.
TICK = 0.001


def large_crl(serials: list[int]) -> bytes:
    """Return a CRL (DER) of ``authority_pem``'s CA that revokes these."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256

    from certificates import extension, integer, oid, sequence, tlv
    from factories import CA_NAME, key

    algorithm, date = sequence(oid("1.2.840.10045.4.3.2")), tlv(0x17, b"260301120000Z")
    reason = sequence(extension("2.5.29.21", tlv(0x0A, b"\x01")))
    entries = sequence(*(sequence(integer(serial), date, reason) for serial in serials))
    number = tlv(0xA0, sequence(extension("2.5.29.20", integer(1))))
    content = sequence(
        integer(1), algorithm, CA_NAME.public_bytes(), date, tlv(0x17, b"270301120000Z"), entries, number
    )
    signature = key().sign(content, ec.ECDSA(SHA256()))
    return sequence(content, algorithm, tlv(3, b"\x00", signature))


def _resident() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


async def _longest_wait(work: "asyncio.Future[Any]") -> float:
    longest, before = 0.0, time.perf_counter()
    while not work.done():
        await asyncio.sleep(TICK)
        now = time.perf_counter()
        longest, before = max(longest, now - before - TICK), now
    return longest


def _serials(count: int) -> list[int]:
    generator = random.Random(1)
    return [generator.getrandbits(158) + 1 for _ in range(count)]


def _make(directory: Path, count: int) -> None:
    from factories import authority_pem

    (directory / "ca.pem").write_bytes(authority_pem())
    (directory / "large.crl").write_bytes(large_crl(_serials(count)))


async def _measure(directory: Path, count: int) -> str:
    from dmvpn_agent.x509.kept_trust import KeptTrust
    from dmvpn_agent.x509.settings import TrustFiles
    from dmvpn_agent.x509.trust_files import TrustFilesReader

    file, serials = directory / "large.crl", _serials(count)
    reader = TrustFilesReader(TrustFiles((directory / "ca.pem",), (file,)), KeptTrust(directory / "kept"))
    size, before, started = file.stat().st_size, _resident(), time.perf_counter()
    work = asyncio.ensure_future(asyncio.to_thread(reader.read))
    waited = await _longest_wait(work)
    read, spent = await work, time.perf_counter() - started
    (held,) = read.trust.crls
    grown = _resident() - before
    started = time.perf_counter()
    for serial in serials[:1000]:
        if serial not in held.serials or serial + 1 in held.serials:
            raise SystemExit("a serial number is not found, or one that is not there is")
    looked_up = (time.perf_counter() - started) / 2000
    return (
        f"{count:>7} revoked, {size / 1e6:.2f} MB: read in {spent * 1e3:.0f} ms, the event loop waits"
        f" {waited * 1e3:.0f} ms at most; look-up {looked_up * 1e6:.1f} us; {grown / 1e6:.1f} MB more memory,"
        " the list itself among it"
    )


def main() -> None:
    """Make and measure each in processes of their own: what one holds is not the other's."""
    print("CRLs from the file to the policy, in the thread that reads them")
    for count in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            for what in ("make", "measure"):
                subprocess.run([sys.executable, "-m", "bench.crls", what, folder, str(count)], check=True)


if __name__ == "__main__":
    _, wanted, place, size = sys.argv
    if wanted == "make":
        _make(Path(place), int(size))
    else:
        print(asyncio.run(_measure(Path(place), int(size))))
