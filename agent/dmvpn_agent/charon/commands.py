"""The VICI commands that the agent, the bridge and the doctor give charon: one function each, and no other place.

strongSwan's ``src/libcharon/plugins/vici/README.md`` describes them. Each raises ``CharonLost`` if the connection
ends, and ``CommandFailed`` if charon does not know the command or refuses it.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from dmvpn_agent.addresses import Address
from dmvpn_agent.charon.reuse_unchanged import reuse_unchanged
from dmvpn_agent.charon.sa import ChildSa, IkeSa
from dmvpn_agent.charon.sa_reader import (
    Connection,
    Load,
    certificate_data,
    parse_connections,
    parse_ike_sas,
    parse_load,
)
from dmvpn_agent.charon.session import CharonLost, CharonSession, CommandFailed
from dmvpn_agent.charon.vici import Section, ViciError, text
from dmvpn_agent.runtime.clocks import Clock, utc_now
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.runtime.unreadable import ItemSource, Unreadable


async def version(session: CharonSession) -> str:
    """Return strongSwan's version."""
    return text(await session.request("version", {}), "version")


async def list_sas(
    session: CharonSession,
    clock: Clock = utc_now,
    former: Mapping[int, IkeSa] = MappingProxyType({}),
    unreadable: Unreadable | None = None,
    *,
    ike_id: int | None = None,
) -> list[IkeSa]:
    """Return all IKE_SAs, or the one with this unique id.

    ``former``: the last list by unique id; an IKE_SA that has not changed since is the same value. An IKE_SA that
    cannot be read is skipped and noted in ``unreadable``. Raises ``CharonLost`` also if charon refuses.
    """
    noted = unreadable or Unreadable(Telemetry())

    def read(message: Section) -> Iterator[IkeSa]:
        try:
            for sa in parse_ike_sas(message, clock()):
                yield reuse_unchanged(sa, former.get(sa.unique_id))
        except ViciError as error:
            noted.skip(ItemSource.IKE_SA, str(error), str(error))

    selection = {} if ike_id is None else {"ike-id": str(ike_id)}
    try:
        return await session.stream("list-sas", selection, "list-sa", read)
    except CommandFailed as error:
        raise CharonLost(f"list-sas: {error}") from error


async def list_connections(session: CharonSession) -> list[Connection]:
    """Return the connections; two configuration backends can have one each of the same name."""
    return await session.stream("list-conns", {}, "list-conn", parse_connections)


async def list_certificates(session: CharonSession) -> list[bytes]:
    """Return all certificates (DER) in charon's cache, those that unauthenticated peers sent among them."""
    return await session.stream("list-certs", {"type": "X509", "flag": "ANY"}, "list-cert", certificate_data)


async def list_authorities(session: CharonSession) -> list[bytes]:
    """Return the CA certificates (DER) in charon's cache, those that unauthenticated peers sent among them."""
    return await session.stream("list-certs", {"type": "X509", "flag": "CA"}, "list-cert", certificate_data)


async def list_own_certificates(session: CharonSession) -> list[bytes]:
    """Return the end-entity certificates (DER) that charon has the private keys of."""

    def read(message: Section) -> Iterator[bytes]:
        if text(message, "has_privkey") == "yes":
            yield from certificate_data(message)

    return await session.stream("list-certs", {"type": "X509", "flag": "NONE"}, "list-cert", read)


async def list_plugins(session: CharonSession) -> frozenset[str]:
    """Return the names of the plugins that are loaded."""
    plugins = (await session.request("stats", {})).get("plugins", [])
    return frozenset(one.decode("ascii", "replace") for one in plugins if isinstance(one, bytes))


async def read_load(session: CharonSession) -> Load:
    """Return the half-open IKE_SAs and waiting jobs. Raises ``ViciError`` if charon's answer has other fields."""
    return parse_load(await session.request("stats", {}))


async def load_crl(session: CharonSession, crl: bytes) -> None:
    """Add a CRL (DER, at most ``MAX_VALUE`` bytes); charon keeps the newest of each issuer."""
    await session.request("load-cert", {"type": "X509_CRL", "flag": "NONE", "data": crl})


async def flush_crls(session: CharonSession) -> None:
    """Empty the cache of verified CRLs, which charon prefers to newer ones that were loaded."""
    await session.request("flush-certs", {"type": "X509_CRL"})


async def flush_certificates(session: CharonSession) -> None:
    """Empty the cache of certificates that peers sent."""
    await session.request("flush-certs", {"type": "X509"})


async def initiate(session: CharonSession, child: str, local: Address, remote: Address) -> None:
    """Start a CHILD_SA between two NBMA addresses, without waiting for it.

    The form that nhrpd uses, with addresses: charon with Alpine's patches knows it, and the bridge.
    """
    message = {"child": child, "timeout": "-1", "async": "1", "init-limits": "0"}
    await session.request("initiate", message | {"my-host": str(local), "other-host": str(remote)})


async def terminate(session: CharonSession, *, ike_id: int | None = None, ike: str = "") -> Section:
    """Delete the IKE_SA with a unique id, or all of a connection, without waiting for it; return charon's answer."""
    selection = {"ike": ike} if ike_id is None else {"ike-id": str(ike_id)}
    return await session.request("terminate", selection | {"timeout": "-1"})


async def rekey_child_sa(session: CharonSession, child: ChildSa) -> None:
    """Start rekeying a CHILD_SA, without waiting for it. When the peer has answered, charon lists a new one."""
    await session.request("rekey", {"child-id": str(child.unique_id)})


async def end_ike_sa(session: CharonSession, sa: IkeSa, *, force: bool = False) -> None:
    """Delete an IKE_SA, without waiting for it.

    With ``force`` charon notifies the peer and drops the IKE_SA at once; otherwise it retransmits until the peer
    answers.
    """
    if force:
        await session.request("terminate", {"ike-id": str(sa.unique_id), "timeout": "-1", "force": "yes"})
    else:
        await terminate(session, ike_id=sa.unique_id)


async def load_key(session: CharonSession, key: bytes) -> None:
    """Add a private key (PEM)."""
    await session.request("load-key", {"type": "any", "data": key})


async def load_certificate(session: CharonSession, certificate: bytes) -> None:
    """Add an end-entity certificate (DER)."""
    await session.request("load-cert", {"type": "X509", "flag": "NONE", "data": certificate})


async def unload_key(session: CharonSession, key_id: bytes) -> None:
    """Remove a private key by its identifier, the SHA-1 of the public key's bits.

    From then on charon shows no certificate of this key, though it keeps the certificate.
    """
    await session.request("unload-key", {"id": key_id.hex()})


async def list_keys(session: CharonSession) -> frozenset[bytes]:
    """Return the identifiers of the private keys that were loaded over VICI."""
    keys = (await session.request("get-keys", {})).get("keys", [])
    return frozenset(bytes.fromhex(one.decode("ascii")) for one in keys if isinstance(one, bytes))


async def reauthenticate(session: CharonSession, ike_id: int) -> None:
    """Make an IKE_SA again, with the credentials of now; with ``make_before_break`` the former one ends last."""
    await session.request("rekey", {"ike-id": str(ike_id), "reauth": "yes"})
