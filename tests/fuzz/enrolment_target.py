"""Messages of SCEP, as anybody may send them to the CA's server."""

from functools import lru_cache
from pathlib import Path
from random import Random

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from dmvpn_agent.enrolment.scep_message import ScepMessage
from dmvpn_agent.enrolment.signed_message import WeakAlgorithm, read_signed
from dmvpn_agent.x509.der import Malformed
from factories import NOW
from fuzz.targets import Broken, DerInput
from scep_client import Client, self_signed

#: Always the same, and so are the inputs.
KEY = Path(__file__).parents[1] / "data/scep/key.pem"
_CONTENTS = (b"", b"content", bytes(range(256)) * 4)


@lru_cache
def _client() -> Client:
    key = load_pem_private_key(KEY.read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    certificate = self_signed(key, NOW)
    return Client(certificate, key, certificate)


class ScepMessages(DerInput):
    """The reader of the outer layer: what it understands is what its signer wrote."""

    def __init__(self) -> None:
        super().__init__(tuple(_client().message(content) for content in _CONTENTS))

    def check(self, data: bytes, _: Random) -> bool:
        """Read it."""
        try:
            found = read_signed(data)
            message = ScepMessage.of(found)
        except (Malformed, WeakAlgorithm):
            return False
        if found.content not in _CONTENTS or message.transaction != b"transaction-1":
            raise Broken("a message that nobody signed was understood")
        return True
