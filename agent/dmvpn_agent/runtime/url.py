"""Addresses that can be fetched: http and https, with everything that could deceive left out."""

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

#: Octets of a URL.
MAX_URL = 2048
#: Those of RFC 3986 without "#": no quotation marks, blanks or backslashes.
_CHARACTERS = re.compile(r"[A-Za-z0-9._~:/?@!$&'()*+,;=%\[\]-]+")
_PORTS = {"http": 80, "https": 443}
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
#: A name of RFC 1123, whose labels have 1 to 63 characters, an IPv4 address, or an IPv6 address without zone.
_HOST = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*|(?=[^:]*:)[0-9A-Fa-f:.]{{2,45}}")


class BadUrl(ValueError):
    """A text is no URL that can be fetched; the text of the exception says what is expected."""


@dataclass(frozen=True, slots=True)
class Url:
    """An address that can be fetched. ``target``: what is asked of the host, with the query."""

    text: str
    scheme: str
    host: str
    port: int
    authority: str
    target: str

    @classmethod
    def parse(cls, text: str) -> "Url":
        """Read a URL. Raises ``BadUrl``."""
        expected = "expected a URL such as http://192.0.2.1/dmvpn-ca.crl, without user name, blanks or fragment"
        if len(text) > MAX_URL or not _CHARACTERS.fullmatch(text):
            raise BadUrl(expected)
        try:
            split: SplitResult = urlsplit(text)
            port, host = split.port, split.hostname or ""
        except ValueError:
            raise BadUrl(expected) from None
        if split.scheme not in _PORTS or "@" in split.netloc or not _HOST.fullmatch(host) or port == 0:
            raise BadUrl(expected)
        target = (split.path or "/") + (f"?{split.query}" if split.query else "")
        return cls(text, split.scheme, host, port or _PORTS[split.scheme], split.netloc, target)

    def __str__(self) -> str:
        return self.text
