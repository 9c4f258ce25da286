"""Puts a new certificate to use in charon, without losing a packet.

charon takes its certificate for an IKE_SA by the connection's identity, among those that it has the private key of.
So the new key and certificate are loaded, the old key is unloaded, and each IKE_SA is authenticated again: charon
makes the new one before it deletes the old one (``make_before_break``, the default from 6.0 on). IKE_SAs with a
certificate in their connection (``certs``) would keep it for ever.
"""

import asyncio
from collections.abc import Set

from cryptography import x509

from dmvpn_agent.charon.commands import (
    list_connections,
    list_keys,
    list_own_certificates,
    list_sas,
    load_certificate,
    load_key,
    reauthenticate,
    unload_key,
)
from dmvpn_agent.charon.session import CharonSession, CommandFailed
from dmvpn_agent.renewal.est import EstError
from dmvpn_agent.renewal.key_pair import KeyPair
from dmvpn_agent.x509.private_key import plain_pem

#: Seconds between two IKE_SAs, so that a hub with a thousand spokes does not do everything at once.
PAUSE = 0.05
#: Seconds for all new IKE_SAs to come up after the last was asked for.
PATIENCE = 30.0


async def refuse_fixed_certificates(session: CharonSession, profiles: Set[str]) -> None:
    """Raise ``EstError`` if a connection of the DMVPN shows a certificate that it names."""
    fixed = sorted(
        one.name for one in await list_connections(session) if one.names_certificate and one.name in profiles
    )
    if fixed:
        raise EstError(
            f"the connection {', '.join(fixed)} names its certificate (certs) in swanctl.conf, and charon would go on"
            " showing that one; write there instead what `dmvpn-agent renew --identity` prints"
        )


async def use(session: CharonSession, pair: KeyPair) -> None:
    """Have charon show this certificate from now on; no other of the same subject."""
    own = await list_own_certificates(session)
    if pair.der not in own:
        await load_key(session, plain_pem(pair.key))
        await load_certificate(session, pair.der)
    if pair.der not in await list_own_certificates(session):
        raise EstError("charon did not take the new certificate with its key; its log says why")
    loaded, kept = await list_keys(session), _key_id(pair.certificate)
    for der in own:
        other = x509.load_der_x509_certificate(der)
        if other.subject == pair.certificate.subject and _key_id(other) in loaded - {kept}:
            await unload_key(session, _key_id(other))


async def renew_ike_sas(session: CharonSession, profiles: Set[str], patience: float = PATIENCE) -> None:
    """Authenticate every IKE_SA again, and wait until the new ones have replaced them. Raises ``EstError``.

    charon's refusal alone says nothing: the IKE_SA may have ended by itself meanwhile.
    """
    former = {sa.unique_id: sa for sa in await list_sas(session) if sa.established and sa.name in profiles}
    refused: dict[int, str] = {}
    for number in former:
        try:
            await reauthenticate(session, number)
        except CommandFailed as error:
            refused[number] = str(error)
        await asyncio.sleep(PAUSE)
    left = set(former)
    for _ in range(int(patience / 0.25)):
        if not left:
            return
        await asyncio.sleep(0.25)
        left &= {sa.unique_id for sa in await list_sas(session)}
        if left <= refused.keys():
            break
    if left:
        why = (f"{former[number].remote_host}" + (f" (charon: {refused[number]})" if number in refused else "")
               for number in sorted(left)[:10])  # fmt: skip
        peers = ", ".join(why)
        raise EstError(f"{len(left)} of {len(former)} IKE_SAs still have the former certificate, with {peers};"
                       " they work until it ends, and are asked for again with the next run")  # fmt: skip


def _key_id(certificate: x509.Certificate) -> bytes:
    return x509.SubjectKeyIdentifier.from_public_key(certificate.public_key()).digest
