"""The whole of a renewal: when it is due, the CA's answer, its judgement, the files, charon.

Each run checks the state and completes it, so it may be interrupted anywhere. It needs root: the key
is root's, and neither the agent nor the bridge can read it.
"""

import fcntl
import os
from collections.abc import Callable, Iterator, Set
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import structlog

from dmvpn_agent.charon.session import CharonLost, CharonSession, CommandFailed
from dmvpn_agent.charon.vici import ViciError
from dmvpn_agent.renewal import charon_side, est
from dmvpn_agent.renewal.candidate import Judgement, objections, readable
from dmvpn_agent.renewal.est import EstError
from dmvpn_agent.renewal.est_client import EstClient, show_certificate, tls_context
from dmvpn_agent.renewal.key_pair import KeyPair, KeyPairFiles, requested_key
from dmvpn_agent.renewal.schedule import due_at, retry_after
from dmvpn_agent.renewal.settings import RenewalSettings
from dmvpn_agent.renewal.state import RenewalState, read_state, write_state
from dmvpn_agent.runtime.clocks import Clock, utc_now
from dmvpn_agent.x509.certificate import Certificate
from dmvpn_agent.x509.certificate_reader import read_certificate
from dmvpn_agent.x509.trust_paths import list_files, read_bounded

log = structlog.get_logger()

#: The key of the request: the same until there is a certificate, so that the CA need not issue two if an answer is
#: lost.
_REQUESTED_KEY = "requested-key.pem"


class NotRenewed(Exception):
    """The certificate was not renewed, or is not in use everywhere; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run did. ``due``: when the certificate in use is to be renewed."""

    state: RenewalState
    renewed: bool = False


class Renewer:
    """Renews the certificate of one node.

    ``judgement`` returns what the new certificate is judged by; ``charon`` connects to charon; ``profiles`` are the
    DMVPN's connections.
    """

    def __init__(
        self,
        settings: RenewalSettings,
        judgement: Callable[[], Judgement],
        charon: Callable[[], AbstractAsyncContextManager[CharonSession]],
        profiles: Set[str],
        clock: Clock = utc_now,
    ) -> None:
        self._settings = settings
        self._judgement = judgement
        self._charon = charon
        self._profiles = profiles
        self._clock = clock
        self._files = KeyPairFiles(settings.certificate, settings.key, settings.state)

    async def run(self, *, at_once: bool = False) -> Outcome:
        """Renew if it is due, or ``at_once``; then have charon use the present certificate. Raises ``NotRenewed``.

        The state is written in any case.
        """
        try:
            self._settings.state.mkdir(mode=0o755, parents=True, exist_ok=True)
            with _locked(self._settings.state / "lock"):
                return await self._run(at_once=at_once)
        except OSError as error:
            why = f"{error.filename or self._settings.state}: {error.strerror}"
            raise NotRenewed(f"{why}; renewal needs root, and room on a disk that can be written") from error

    async def _run(self, *, at_once: bool) -> Outcome:
        now, state = self._clock(), read_state(self._settings.state)
        renewed = used = False
        try:
            pair = self._files.read()
            present = readable(pair.der)
            state = replace(state, due=due_at(present), not_after=present.not_after)
            is_due = now >= due_at(present)
            if at_once or (is_due and (state.next_attempt is None or now >= state.next_attempt)):
                pair, is_due, renewed = await self._renew(pair, present), False, True
                present = readable(pair.der)
                state = replace(state, due=due_at(present), not_after=present.not_after, succeeded=now)
            if state.in_use != present.fingerprint:
                await self._put_to_use(pair)
                state, used = replace(state, in_use=present.fingerprint), True
        except (EstError, CharonLost, CommandFailed, ViciError, ValueError, OSError) as error:
            self._note_failure(replace(state, attempted=now), _text(error))
        if renewed or used:
            state = replace(state, attempted=now)
        if not is_due:
            state = replace(state, failures=0, trouble="", next_attempt=None)
        write_state(self._settings.state, state)
        return Outcome(state, renewed)

    def _note_failure(self, state: RenewalState, why: str) -> NoReturn:
        """Write that an attempt failed. Raises ``NotRenewed``."""
        failures = state.failures + 1
        now = self._clock()
        left = state.not_after - now if state.not_after else timedelta()
        after = retry_after(failures, left)
        failed = replace(state, failures=failures, trouble=why, next_attempt=now + after)
        with suppress(OSError):  # of a full disk, say, which is reported already
            write_state(self._settings.state, failed)
        raise NotRenewed(why)

    async def _renew(self, pair: KeyPair, present: Certificate) -> KeyPair:
        """Get a new certificate, judge it, and put it in place of the present one; return it."""
        server = self._settings.server
        if server is None:
            raise EstError("renewal.server is not set; expected the CA's EST server, as https://ca.example.com:8443")
        async with self._charon() as session:
            await charon_side.refuse_fixed_certificates(session, self._profiles)
        context = tls_context(self._server_authorities())
        show_certificate(context, pair)
        key = requested_key(self._settings.state / _REQUESTED_KEY, pair)
        request = est.request_for(key, pair.certificate.subject, pair.certificate)
        answer = await EstClient(server, context).reenroll(request)
        new = KeyPair(key, est.of_key(answer, key))
        if found := list(objections(read_certificate(new.der), present, self._judgement())):
            raise EstError(f"{server} sent a certificate that must not replace the present one: {'; '.join(found)}")
        self._files.replace(new)
        (self._settings.state / _REQUESTED_KEY).unlink(missing_ok=True)
        log.info(
            "certificate_renewed",
            subject=readable(new.der).subject,
            serial=f"{new.certificate.serial_number:x}",
            until=str(new.certificate.not_valid_after_utc),
            kept=str(self._settings.state),
        )
        return new

    async def _put_to_use(self, pair: KeyPair) -> None:
        async with self._charon() as session:
            await charon_side.use(session, pair)
            if self._settings.reauthenticates:
                await charon_side.renew_ike_sas(session, self._profiles)
        log.info("certificate_in_use", serial=f"{pair.certificate.serial_number:x}")

    def _server_authorities(self) -> bytes:
        """Return the CAs of the server's TLS certificate as PEM."""
        files, _ = list_files(self._settings.server_authorities)
        return b"\n".join(pem for pem in map(read_bounded, files) if b"-----BEGIN CERTIFICATE-----" in pem)


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Let one run at a time go on. Raises ``NotRenewed``."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NotRenewed("another run of `dmvpn-agent renew` is going on") from None
        yield
    finally:
        os.close(descriptor)


def _text(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename or 'a file'}: {error.strerror or error}"
    return str(error)
