"""Files that an operator gives to the CA, damaged in every way: refused with ``CaError`` and no other error."""

import gzip
import json
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from ca_registry import make_registry
from dmvpn_agent.ca import backup as backup_module
from dmvpn_agent.ca.backup import backup
from dmvpn_agent.ca.csv_import import read_rows
from dmvpn_agent.ca.dmvpn_ca import OldConfiguration, read_old_configuration, read_old_database
from dmvpn_agent.ca.errors import CaError
from dmvpn_agent.ca.issuing import public_key_of_request
from dmvpn_agent.x509.private_key import new_key
from old_dmvpn_ca import CONFIGURATION, make_database

TABLE = b"site,node,addresses,prefixes,as_number\nHubs,1,10.255.0.1,,\nFIN,1,10.255.0.2,10.1.0.0/16 fd00::/48,64513\n"
REQUEST = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(new_key(), SHA256())


@cache
def saved() -> bytes:
    with TemporaryDirectory() as folder:
        return gzip.decompress(backup(make_registry(Path(folder) / "r")))


@cache
def old_database() -> bytes:
    with TemporaryDirectory() as folder:
        make_database(Path(folder) / "old")
        return (Path(folder) / "old").read_bytes()


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """The data with some bytes replaced, removed or added."""
    found = bytearray(data)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(found)))
        length = draw(st.sampled_from([0, 1, 2, 20]))
        found[at : at + length] = draw(
            st.binary(max_size=4) | st.sampled_from([b",", b"\n", b'"', b"\0", b"9" * 5000])
        )
    return bytes(found)


@given(st.binary(max_size=200) | damaged(TABLE))
def test_tables(data: bytes) -> None:
    """What is read has whole values only."""
    with suppress(CaError):
        for row in read_rows(data):
            assert row.node is None or 0 < row.node < 100_000


@given(
    st.binary(max_size=200)
    | damaged(REQUEST.public_bytes(Encoding.DER))
    | damaged(REQUEST.public_bytes(Encoding.PEM))
)
def test_requests(data: bytes) -> None:
    """A damaged request has no valid signature."""
    with suppress(CaError):
        key = public_key_of_request(data)
        assert key == REQUEST.public_key()


@given(st.binary(max_size=200) | damaged(CONFIGURATION))
def test_dmvpn_cas_configuration(data: bytes) -> None:
    """YAML of any shape."""
    with suppress(CaError):
        read_old_configuration(data)


@given(st.data())
@settings(deadline=None)
def test_dmvpn_cas_database(data: st.DataObject) -> None:
    """SQLite's pages damaged."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "old"
        path.write_bytes(data.draw(damaged(old_database())))
        with suppress(CaError):
            read_old_database(path, OldConfiguration())


@given(st.data())
def test_backups(data: st.DataObject) -> None:
    """Also with a right checksum."""
    with suppress(CaError):
        backup_module._read(gzip.compress(data.draw(damaged(saved())), 1))


@pytest.mark.parametrize("reader", [backup_module._read, read_old_configuration])
def test_nested_too_deep(reader: object) -> None:
    """JSON and YAML that Python cannot read."""
    deep = json.dumps({"format": 1}).encode() + b"\n" + b"[" * 100_000
    with pytest.raises(CaError):
        reader(gzip.compress(deep) if reader is backup_module._read else b"[" * 100_000)  # type: ignore[operator]
