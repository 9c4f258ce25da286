"""This node's own certificates, as charon has them."""

from contextlib import suppress
from datetime import timedelta

from dmvpn_agent.charon.commands import list_own_certificates
from dmvpn_agent.charon.session import CharonSession, CommandFailed
from dmvpn_agent.runtime.clocks import Uptime
from dmvpn_agent.x509.certificate import Certificate
from dmvpn_agent.x509.certificate_reader import read_certificate

#: charon lists its whole cache of certificates for them.
INTERVAL = timedelta(hours=1)


class OwnCertificates:
    """``known``: the certificates that charon has the private keys of, as last read."""

    def __init__(self, clock: Uptime) -> None:
        self._clock = clock
        self._read_at: timedelta | None = None
        self.known: tuple[Certificate, ...] = ()

    def begin(self) -> None:
        """Note that the session with charon is new: the next refresh reads."""
        self._read_at = None

    async def refresh(self, session: CharonSession) -> None:
        """Read them, if the last time is long ago. Raises ``CharonLost``."""
        now = self._clock()
        if self._read_at is not None and now - self._read_at < INTERVAL:
            return
        self._read_at = now
        with suppress(CommandFailed):
            own = map(read_certificate, await list_own_certificates(session))
            self.known = tuple(one for one in own if isinstance(one, Certificate))
