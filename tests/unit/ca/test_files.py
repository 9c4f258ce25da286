"""Files and passphrases."""

import os
from pathlib import Path

import pytest

from dmvpn_agent.ca.errors import CaError
from dmvpn_agent.ca.files import pending_file, read_input, write_file
from dmvpn_agent.ca.keys import decrypted, encrypted
from dmvpn_agent.ca.passphrase import PassphraseSource, read_passphrase
from dmvpn_agent.x509.private_key import new_key


def test_a_file_is_there_only_when_it_is_put(tmp_path: Path) -> None:
    """Before, and after a failure, the folder is as it was."""
    path = tmp_path / "node.pfx"
    with pending_file(path, b"1", mode=0o600) as pending:
        assert not path.exists()
        pending.put()
    assert path.read_bytes() == b"1"
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(KeyError), pending_file(tmp_path / "other", b"1", mode=0o600):
        raise KeyError
    assert list(tmp_path.iterdir()) == [path]


def test_no_file_is_written_over(tmp_path: Path) -> None:
    """Not even one that appears in between; unless it is meant to be replaced."""
    path = tmp_path / "x"
    with pending_file(path, b"1", mode=0o600) as pending:
        path.write_bytes(b"other")
        with pytest.raises(CaError, match="move it away"):
            pending.put()
    with pytest.raises(CaError, match="already"):
        write_file(path, b"2", mode=0o600)
    assert path.read_bytes() == b"other"
    write_file(path, b"3", mode=0o600, replace=True)
    assert [one.read_bytes() for one in tmp_path.iterdir()] == [b"3"]


def test_input_is_bounded(tmp_path: Path) -> None:
    """Too long, missing, a folder."""
    (tmp_path / "long").write_bytes(b"x" * 11)
    for name in ("long", "missing", "."):
        with pytest.raises(CaError, match="a request"):
            read_input(tmp_path / name, "a request", 10)


def test_where_the_passphrase_comes_from(tmp_path: Path) -> None:
    """A descriptor, a file, a credential, or the terminal, in this order."""
    (tmp_path / "ca-passphrase").write_bytes(b"from credential\r\nmore")
    (tmp_path / "file").write_bytes(b"from file\n")
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    reader, writer = os.pipe()
    os.write(writer, b"from descriptor\n")
    os.close(writer)
    try:
        found = read_passphrase(PassphraseSource(descriptor=reader), environment=environment)
    finally:
        os.close(reader)
    assert found == b"from descriptor"
    assert read_passphrase(PassphraseSource(file=tmp_path / "file"), environment=environment) == b"from file"
    assert read_passphrase(PassphraseSource(), environment=environment) == b"from credential"
    assert read_passphrase(PassphraseSource(), environment={}, ask=lambda _: "typed") == b"typed"


def test_what_is_no_passphrase_is_named(tmp_path: Path) -> None:
    """An empty file, a closed descriptor, no terminal, two that differ."""
    (tmp_path / "empty").write_bytes(b"\nsecond line")
    typed = iter(["one", "other"])

    def no_terminal(_: str) -> str:
        raise EOFError

    for source, ask, words in (
        (PassphraseSource(file=tmp_path / "empty"), no_terminal, "first line"),
        (PassphraseSource(descriptor=9999), no_terminal, "descriptor 9999"),
        (PassphraseSource(), no_terminal, "no terminal.*--passphrase-file"),
        (PassphraseSource(), lambda _: next(typed), "differ"),
    ):
        with pytest.raises(CaError, match=words):
            read_passphrase(source, twice=True, environment={}, ask=ask)


def test_a_key_is_encrypted_slowly_enough() -> None:
    """As standard PKCS #8 with 200,000 rounds of PBKDF2; a short passphrase is refused."""
    key = new_key()
    pem = encrypted(key, b"correct horse")
    assert decrypted(pem, b"correct horse").private_numbers() == key.private_numbers()  # type: ignore[union-attr]
    import base64

    der = base64.b64decode("".join(pem.split("\n")[1:-2]))
    assert b"\x02\x03" + (200_000).to_bytes(3) in der
    with pytest.raises(CaError, match="at least 8"):
        encrypted(key, b"short")
