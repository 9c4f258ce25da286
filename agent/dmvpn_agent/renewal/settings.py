"""Where this node's certificate is, and who renews it."""

from dataclasses import dataclass
from pathlib import Path

from dmvpn_agent.runtime.url import Url


@dataclass(frozen=True, slots=True)
class RenewalSettings:
    """``server``: the CA's EST server; ``None`` if the certificate is not renewed.

    ``server_authorities``: the CAs of the server's TLS certificate, in PEM. ``certificate``, ``key``: the node's, in
    PEM, as swanctl reads them. ``reauthenticates``: whether the IKE_SAs are made again with the new certificate.
    ``state``: a directory of root's.
    """

    server: Url | None = None
    server_authorities: tuple[Path, ...] = ()
    certificate: Path = Path("/etc/swanctl/x509/node.pem")
    key: Path = Path("/etc/swanctl/private/node.pem")
    reauthenticates: bool = True
    state: Path = Path("/var/lib/dmvpn-renew")
