"""What is kept of a request is judged as the request was."""

import pytest

import certificates
from certificates import COMMON_NAME, ORGANIZATION, UNIT, attribute, name
from dmvpn_agent.charon.ike_peer import ike_peer, is_confirmed
from dmvpn_agent.policy.authentication_rules import maintenance_of
from dmvpn_agent.policy.request import BindingRequest
from dmvpn_agent.policy.rules import Action, Maintenance
from dmvpn_agent.x509.certificate import Certificate
from dmvpn_agent.x509.certificate_reader import read_certificate
from dmvpn_agent.x509.ike_identity import approximate_printed_subject
from dmvpn_agent.x509.name import read_name
from factories import policy, request


def _request(common_name: str, units: int = 0) -> BindingRequest:
    attributes = [attribute(UNIT, f"NET=10.{number}.0.0/16") for number in range(units)]
    subject = name(attribute(ORGANIZATION, "lab"), *attributes, attribute(COMMON_NAME, common_name))
    return request(certificate=read_certificate(certificates.der(subject)))


@pytest.mark.parametrize("units", [0, 100], ids=["short", "longer than what is shown of a name"])
@pytest.mark.parametrize("pattern", ["*cn=évil spoke", "cn=évil spoke,*"])
def test_a_maintenance_holds_for_it(units: int, pattern: str) -> None:
    """In both orders of the name: a quarantine does not end when the peer is judged again."""
    asked = _request("\u00c9vil  Spoke", units)
    by = policy(maintenance=(Maintenance(Action.QUARANTINE, identity=pattern),))
    assert maintenance_of(asked, by, Action.QUARANTINE)
    assert maintenance_of(asked.kept, by, Action.QUARANTINE)


def test_a_name_that_charon_cannot_print_whole_confirms_it() -> None:
    """As it did when the peer was accepted."""
    asked = _request("spoke1", units=40)
    assert isinstance(asked.certificate, Certificate)
    printed = (
        approximate_printed_subject(read_name(asked.certificate.subject_name))[:480] + "(invalid ID_DER_ASN1_DN)"
    )
    for one in (asked, asked.kept):
        assert isinstance(one.certificate, Certificate)
        assert is_confirmed(one.certificate, [ike_peer(printed, has_certificate=True)])
