"""What becomes of a request for a certificate."""

from enum import StrEnum


class Protocol(StrEnum):
    """How it came."""

    EST = "est"
    SCEP = "scep"


class Refusal(StrEnum):
    """Why it was refused."""

    #: No token, an unknown, used or expired one, or one of another node.
    TOKEN = "token"  # noqa: S105
    #: The certificate that the client showed is unknown, expired, revoked or on hold, or its node was removed.
    CERTIFICATE = "certificate"
    #: The request is malformed, is signed by another key or weakly, or names another node.
    REQUEST = "request"
    #: SCEP's message is encrypted by a weak algorithm.
    ALGORITHM = "algorithm"
    #: The key is weak, or the nodes would deny the certificate.
    DENIED = "denied"
    #: Too many requests from this source or of this node.
    RATE = "rate"
    #: The registry cannot be read or written now.
    REGISTRY = "registry"
    #: A fault of the program.
    FAILED = "failed"


#: The same token or certificate brought one for the same key before: the client gets that certificate again.
REPEATED = "repeated"
ISSUED = "issued"
OUTCOMES = (ISSUED, REPEATED, *Refusal)


class Refused(Exception):
    """A request is refused. ``text``: for the operator; ``node``: of which node it was, if that is known."""

    def __init__(self, why: Refusal, text: str, *, node: str = "") -> None:
        super().__init__(text)
        self.why = why
        self.text = text
        self.node = node
