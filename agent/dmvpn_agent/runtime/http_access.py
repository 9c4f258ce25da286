"""Who may use an HTTP port: TLS, passwords and tokens from files.

The files are read again when they change, so that a renewed certificate or password needs no restart.
"""

import base64
import hmac
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")

MAX_FILE = 65536
_SCHEMES = 'Basic realm="dmvpn-agent", charset="UTF-8"', "Bearer"


@dataclass(frozen=True, slots=True)
class HttpAccess:
    """The files of an HTTP port; without any, it is open to all who can reach it.

    ``certificate``, ``key``: PEM, for TLS. ``client_ca``: PEM; a client must show a certificate of one of these CAs.
    ``users``: lines ``NAME:PASSWORD``. ``token``: one line, for ``Authorization: Bearer``.
    """

    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None
    users: Path | None = None
    token: Path | None = None


class FileValue(Generic[T]):
    """What ``read`` makes of some files; called again if one was changed."""

    def __init__(self, files: tuple[Path, ...], read: Callable[[], T]) -> None:
        self._files = files
        self._read = read
        self._state: object = None
        self._value: T

    def __call__(self) -> T:
        """Return the value. Raises ``OSError``."""
        state = [(file.stat().st_mtime_ns, file.stat().st_ino) for file in self._files]
        if state != self._state:
            self._value, self._state = self._read(), state
        return self._value


def may_be_asked_as(host: str, names: frozenset[str]) -> bool:
    """Tell whether a request's ``Host`` is an address, ``localhost`` or one of ``names`` (in lower case).

    Another site's page may come here under that site's name, if that resolves to this machine (DNS rebinding): then
    the browser lets its scripts read the answers.
    """
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    if name.lower().rstrip(".") in {"localhost", *names}:
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


class AccessGuard:
    """Checks the clients of one port, ``name``, by its ``HttpAccess``."""

    def __init__(self, access: HttpAccess, name: str = "metrics") -> None:
        self._access = access
        self._name = name
        secrets = tuple(file for file in (access.users, access.token) if file)
        self._credentials = FileValue(secrets, self._read_credentials)
        tls = tuple(file for file in (access.certificate, access.key, access.client_ca) if file)
        self._context = FileValue(tls, self._read_context)

    def context(self) -> ssl.SSLContext | None:
        """Return how to do TLS, ``None`` without. Raises ``OSError``, which names the file that is not usable."""
        return self._context() if self._access.certificate else None

    def admits(self, authorization: str) -> bool:
        """Tell whether a request's ``Authorization`` is valid. Raises ``OSError`` if a file is not usable."""
        expected = self._credentials()
        given = _credential(authorization)
        valid = [hmac.compare_digest(given, one) for one in expected]
        return any(valid) or not (self._access.users or self._access.token)

    def refused(self, source: str, why: str) -> None:
        """Nothing is logged about scrapes that fail."""

    @property
    def challenges(self) -> tuple[str, ...]:
        """Return the values of ``WWW-Authenticate``."""
        files = self._access.users, self._access.token
        return tuple(scheme for scheme, file in zip(_SCHEMES, files, strict=True) if file)

    def _read_credentials(self) -> tuple[bytes, ...]:
        users = secret_lines(self._access.users)
        if any(":" not in line for line in users):
            raise OSError(f"{self._access.users}: a line is not NAME:PASSWORD")
        tokens = secret_lines(self._access.token)[:1]
        return *(b"basic " + line.encode() for line in users), *(b"bearer " + line.encode() for line in tokens)

    def _read_context(self) -> ssl.SSLContext:
        access = self._access
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(str(access.certificate), str(access.key) if access.key else None)
            if access.client_ca:
                context.load_verify_locations(str(access.client_ca))
                context.verify_mode = ssl.CERT_REQUIRED
        except OSError as error:  # ssl.SSLError is one
            names = ", ".join(str(file) for file in (access.certificate, access.key, access.client_ca) if file)
            raise OSError(
                f"TLS of the {self._name} port: {error}; expected PEM files, readable to this user: {names}"
            ) from error
        return context


def secret_lines(file: Path | None) -> list[str]:
    """Return the lines of a file with secrets; none without a file. Raises ``OSError`` if it has none."""
    if file is None:
        return []
    with file.open("rb") as stream:
        text = stream.read(MAX_FILE + 1)
    lines = [line.strip() for line in text.decode("utf-8", "replace").splitlines()]
    found = [line for line in lines if line and not line.startswith("#")]
    if len(text) > MAX_FILE or not found:
        raise OSError(f"{file}: expected at least one line, and at most {MAX_FILE} bytes")
    return found


def basic_credential(authorization: str) -> bytes | None:
    """Return name and password of HTTP Basic authentication (RFC 7617), ``NAME:PASSWORD``; ``None`` without it."""
    scheme, _, value = authorization.strip().partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(value.strip(), validate=True)
    except ValueError:  # no base64, or not even ASCII
        return None


def _credential(authorization: str) -> bytes:
    """Return scheme and credential as ``AccessGuard`` keeps them; empty without one."""
    scheme, _, value = authorization.strip().partition(" ")
    if scheme.lower() == "bearer":
        return b"bearer " + value.strip().encode()
    basic = basic_credential(authorization)
    return b"" if basic is None else b"basic " + basic
