"""Who authenticated in an IKE_SA, by what is known of its certificate."""

from collections.abc import Collection, Mapping
from dataclasses import replace

from cryptography import x509

import foreign_ca
from dmvpn_agent.charon.ike_peer import is_confirmed
from dmvpn_agent.charon.sa import Authentication, ChildSa, IkeSa
from dmvpn_agent.charon.sa_certificates import CertificateSource
from dmvpn_agent.charon.sa_identities import SaIdentities
from dmvpn_agent.runtime.clocks import Clocks
from dmvpn_agent.x509.certificate import Certificate
from dmvpn_agent.x509.certificate_reader import read_certificate
from factories import NBMA, der
from fakes.certificate_cache import Cache

VICTIM = read_certificate(der())
assert isinstance(VICTIM, Certificate)
SA = IkeSa(1, "dmvpn", "ESTABLISHED", NBMA - 1, NBMA, 500, "CN=hub", VICTIM.subject, "1", "2",
           (ChildSa(1, "dmvpn", "INSTALLED"),))  # fmt: skip


class Nothing:
    """A bridge that found no certificate of any IKE_SA."""

    async def load(self, spis: Collection[str]) -> Mapping[str, bytes]:
        return dict.fromkeys(spis, b"")


async def _identities(*sas: IkeSa, source: CertificateSource | None = None) -> SaIdentities:
    identities = SaIdentities(source, Clocks())
    identities.begin()
    await identities.refresh(Cache(), sas, sas)
    identities.keep(sas)
    return identities


async def test_a_certificate_that_cannot_be_read_confirms_no_other_one_of_its_name() -> None:
    """charon could read it, and it may be another CA's."""
    sa = replace(SA, remote_certificate=b"\x30\x03no")
    assert isinstance(VICTIM, Certificate)
    assert not is_confirmed(VICTIM, {(await _identities(sa)).peer(sa)})


async def test_a_namesake_of_another_ca_at_the_same_address_does_not_hide_a_peer() -> None:
    """Whichever of the two charon lists first."""
    assert isinstance(VICTIM, Certificate)
    subject = x509.load_der_x509_certificate(VICTIM.der).subject
    namesake = replace(SA, remote_certificate=foreign_ca.certificate("Office CA", subject))
    sa = replace(SA, unique_id=2, initiator_spi="3", remote_certificate=VICTIM.der)
    identities = await _identities(namesake, sa)
    assert is_confirmed(VICTIM, frozenset(map(identities.peer, (namesake, sa))))


async def test_a_certificate_that_the_bridge_did_not_find_is_news_once() -> None:
    """Each change of the evidence has all peers judged again."""
    identities, charon = SaIdentities(Nothing(), Clocks()), Cache()
    identities.begin()
    identities._connections.note((SA,), Authentication.OTHER)
    evidence = []
    for _ in range(3):
        await identities.refresh(charon, (SA,), (SA,))
        identities.keep((SA,))
        evidence.append(identities.evidence)
    assert len(set(evidence)) == 1
