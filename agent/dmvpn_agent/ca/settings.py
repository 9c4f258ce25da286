"""The settings of the CA, from ``ca init`` and ``ca set``; the registry keeps them."""

import json
import re
from dataclasses import asdict, dataclass, replace
from enum import StrEnum

from dmvpn_agent.ca.errors import CaError

_HOST = re.compile(r"[A-Za-z0-9.:_-]{1,253}")
_URL = re.compile(r"(https?|ldap)://[!-~]{1,500}")


class ResourcesIn(StrEnum):
    """Where certificates name a node's resources."""

    #: OUs of the subject: ``GRE=``, ``AS=``, ``NET=``, ``Hubs``.
    SUBJECT = "subject"
    #: As dmvpn-ca does: subjectAltName, RFC 3779 extensions, and the private extension for the role.
    EXTENSIONS = "extensions"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class Settings:
    """How certificates and CRLs are made.

    ``organization``: the names below which all subjects are, as RFC 4514 writes them (``O=Example,C=FI``).
    ``as_number``: the AS number of every site without one of its own; ``None`` if each site gets one from a pool.
    ``hub_hosts``: addresses or DNS names of hubs, for the private extension. ``crl_urls``: distribution points.
    ``node_days``: the lifetime of a node's certificate; ``crl_hours``: how long a CRL is valid, ``crl_directory``
    where it is published.
    """

    organization: str = "O=DMVPN"
    resources_in: ResourcesIn = ResourcesIn.SUBJECT
    as_number: int | None = None
    hub_hosts: tuple[str, ...] = ()
    crl_urls: tuple[str, ...] = ()
    node_days: int = 365
    crl_hours: int = 24
    crl_directory: str = ""

    def check(self) -> None:
        """Raise ``CaError`` for a host or URL that certificates cannot contain."""
        for host in self.hub_hosts:
            if not _HOST.fullmatch(host):
                raise CaError(f"{host!r:.80} is no host", "write an address, or a DNS name in ASCII (xn--…)")
        for url in self.crl_urls:
            if not _URL.fullmatch(url):
                raise CaError(f"{url!r:.80} is no URL of a CRL", "write http://HOST/NAME.crl")

    def to_json(self) -> str:
        """Return the text that the registry keeps."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Settings":
        """Return the settings from that text; keys of a later version are ignored."""
        known = {name: value for name, value in json.loads(text).items() if name in cls.__dataclass_fields__}
        read = cls(**known)
        return replace(
            read,
            resources_in=ResourcesIn(read.resources_in),
            hub_hosts=tuple(read.hub_hosts),
            crl_urls=tuple(read.crl_urls),
        )
