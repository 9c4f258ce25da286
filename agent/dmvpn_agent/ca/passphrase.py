"""The passphrase of the CA's keys: from a descriptor, a file, a service manager's credential, or the terminal.

It is never in the arguments of a command, where every user of the machine can read it.
"""

import getpass
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from dmvpn_agent.ca.errors import CaError
from dmvpn_agent.ca.files import read_input

#: The name of the credential (systemd: ``LoadCredential=ca-passphrase:/etc/…``).
CREDENTIAL = "ca-passphrase"
_LONGEST = 4096


class PassphraseSource(NamedTuple):
    """Where the passphrase is; with neither, it is the service manager's credential, or is asked for."""

    descriptor: int | None = None
    file: Path | None = None


def read_passphrase(
    source: PassphraseSource,
    *,
    twice: bool = False,
    environment: Mapping[str, str] = os.environ,
    ask: Callable[[str], str] = getpass.getpass,
) -> bytes:
    """Return the passphrase, without the line end behind it. ``twice``: it is a new one. Raises ``CaError``."""
    if source.descriptor is not None:
        return _first_line(_read_descriptor(source.descriptor), f"descriptor {source.descriptor}")
    credentials = environment.get("CREDENTIALS_DIRECTORY")
    file = source.file
    if file is None and credentials and (Path(credentials) / CREDENTIAL).exists():
        file = Path(credentials) / CREDENTIAL
    if file is not None:
        return _first_line(read_input(file, "the passphrase", _LONGEST), str(file))
    return _asked(ask, twice)


def _asked(ask: Callable[[str], str], twice: bool) -> bytes:
    try:
        found = ask("Passphrase of the CA: ")
        if twice and ask("The same again: ") != found:
            raise CaError("the two passphrases differ", "nothing was changed; try again")
    except (EOFError, OSError) as error:
        raise CaError("there is no terminal to ask for the passphrase",
                      "name its place: --passphrase-file FILE or --passphrase-fd NUMBER") from error  # fmt: skip
    return found.encode()


def _read_descriptor(number: int) -> bytes:
    try:
        with open(number, "rb", closefd=False) as stream:
            return stream.read(_LONGEST + 1)
    except OSError as error:
        raise CaError(f"descriptor {number}: {error.strerror}", "open it for the command: 3<FILE") from error


def _first_line(data: bytes, place: str) -> bytes:
    line = data.split(b"\n", 1)[0].rstrip(b"\r")
    if not line or len(data) > _LONGEST:
        raise CaError(f"{place} has no passphrase in its first line", "write one there")
    return line
