"""When a certificate is renewed: computed from the certificate, so that no restart forgets or repeats it."""

from datetime import datetime, timedelta

from dmvpn_agent.x509.certificate import Certificate

#: The part of its lifetime after which a certificate is renewed, and by how much later at most: so not all nodes ask
#: at once, although their certificates were made together.
SHARE, SPREAD = 2 / 3, 1 / 20
FIRST_RETRY, LONGEST_RETRY = timedelta(minutes=10), timedelta(hours=12)


def due_at(certificate: Certificate) -> datetime:
    """Return when a certificate is to be renewed. It differs between certificates, and not between two calls."""
    lifetime = certificate.not_after - certificate.not_before
    part = int(certificate.fingerprint[:8], 16) / 2**32
    return certificate.not_before + lifetime * (SHARE + SPREAD * part)


def retry_after(failures: int, left: timedelta) -> timedelta:
    """Return how long to wait after so many failures, less if little is ``left`` until the certificate ends."""
    wait = min(FIRST_RETRY * float(2 ** min(failures - 1, 16)), LONGEST_RETRY)
    return max(min(wait, left / 10), FIRST_RETRY)
