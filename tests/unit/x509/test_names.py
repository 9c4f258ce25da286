"""Names in the form of RFC 4514, which the operator's patterns match."""

import re
import tomllib
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from configuration import config_from
from deciding import denial_of, peer_of, rules
from dmvpn_agent.config.table import ConfigError
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.policy.rules import Action, Maintenance
from dmvpn_agent.x509.certificate import Certificate
from dmvpn_agent.x509.certificate_reader import read_certificate
from dmvpn_agent.x509.name import read_rdns
from dmvpn_agent.x509.pem import der_blocks
from dmvpn_agent.x509.rfc4514 import ATTRIBUTE_NAMES, rfc4514_text, why_no_identity_matches, why_no_name_matches
from factories import NOW, certificate, policy, request

UMLAUT = Path(__file__).parents[2] / "data" / "cases" / "maintenance-umlaut"
CONFIG = """
role = "hub"
[bgp]
as_number = 65000
[policy]
tunnel_networks = ["10.255.0.0/24"]
allowed_networks = ["192.168.0.0/16"]
"""


def written(*rdns: tuple[tuple[x509.ObjectIdentifier, str], ...]) -> str:
    parts = [[x509.NameAttribute(oid, text, _validate=False) for oid, text in rdn] for rdn in rdns]
    name = x509.Name([x509.RelativeDistinguishedName(part) for part in parts])
    return rfc4514_text(read_rdns(name.public_bytes()))


CN, ORG, COUNTRY = NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME, NameOID.COUNTRY_NAME


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("Zürich", "Zürich"),
        ("Zu\u0308rich", "Zürich"),
        ("a,CN=hub", "a\\2CCN=hub"),
        (" a ", "\\20a\\20"),
        ("#a", "\\23a"),
        ("a\\b\"c+d;e<f>", "a\\5Cb\\22c\\2Bd\\3Be\\3Cf\\3E"),
        ("a\x1b\n\u202eb", "a\\1B\\0A\\E2\\80\\AEb"),
        ("x" * 3000, "x" * 3000),
    ],
)  # fmt: skip
def test_a_value_is_complete_and_unambiguous(value: str, text: str) -> None:
    """It is UTF-8 in normal form C, never cut, and special characters are escaped."""
    assert written(((CN, value),)).encode() == f"CN={text}".encode()


def test_the_last_part_comes_first() -> None:
    """RDNs are separated by commas, attributes of one RDN by plus; an unknown type is its number with DER."""
    odd = x509.ObjectIdentifier("1.2.3.4")
    assert written(((COUNTRY, "FI"),), ((ORG, "lab"),), ((CN, "a"), (odd, "A"))) in {
        "CN=a+1.2.3.4=#0C0141,O=lab,C=FI", "1.2.3.4=#0C0141+CN=a,O=lab,C=FI",
    }  # fmt: skip


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20), min_size=1, max_size=4))
def test_no_value_looks_like_several_parts(values: list[str]) -> None:
    """The text has as many parts as the name, for any value."""
    parts = written(*(((ORG, value),) for value in values)).split(",")
    assert len(parts) == len(values)
    assert all(part.startswith("O=") and part.isprintable() and "+" not in part for part in parts)


IMPOSSIBLE = {
    "C=FI, O=lab, CN=spoke1": "separates parts by ','",
    "O=lab, *": "separates parts by ','",
    "/C=FI/O=lab/*": "separates parts by ','",
    "*,E=admin@lab": "write emailAddress",
    "cn=spoke1,*": "write CN",
    "*,FOO=x": "FOO is not an attribute of RFC 4514",
    "CN=a\\,b": "is written as \\5C",
    'CN="a"': "is written as \\22",
    "CN=a,b,*": "is written as \\2C",
    "CN=a, O=b*": "separates parts by ','",
    "spoke1": "is not an attribute, '=' and a value",
    "DMVPN CA*": "a name begins with an attribute",
    "*CN=Zu\u0308rich*": "normal form C",
    "*CN=a\tb": "unprintable",
}


@pytest.mark.parametrize(("pattern", "why"), IMPOSSIBLE.items())
@pytest.mark.parametrize("key", ["issuers", "subjects", "allow_overclaim"])
def test_a_pattern_that_matches_nothing_is_refused(key: str, pattern: str, why: str) -> None:
    """Every command refuses it, and says what to write."""
    raw = tomllib.loads(CONFIG)
    raw["policy"][key] = [pattern]
    with pytest.raises(ConfigError) as refused:
        config_from(raw)
    assert f"policy.{key}: {pattern!r} matches nothing: " in str(refused.value)
    assert why in str(refused.value)


@pytest.mark.parametrize(
    "pattern",
    ["*", "*CN=DMVPN CA*", "CN=spoke[0-9]*,O=lab,C=FI", "*,O=lab,C=FI", "CN=a\\2CLtd,*", "CN=*+UID=?,*", "1.2.3=#0C*",
     "C*", "*Zürich*", "CN=[!,]*,DC=example", "emailAddress=*@lab"],
)  # fmt: skip
def test_a_pattern_that_may_match_something_is_accepted(pattern: str) -> None:
    """The configuration cannot know which names exist."""
    assert why_no_name_matches(pattern) == ""


@given(st.lists(st.tuples(st.sampled_from([CN, ORG]), st.text(st.characters(exclude_categories=["Cs"]), min_size=1,
       max_size=8)), min_size=1, max_size=3))  # fmt: skip
def test_a_pattern_that_is_a_name_is_never_refused(attributes: list[tuple[x509.ObjectIdentifier, str]]) -> None:
    """A pattern called impossible matches nothing."""
    name = written(*((attribute,) for attribute in attributes))
    literal = re.sub(r"([*?[])", r"[\1]", name)
    assert fnmatchcase(name, literal)
    assert why_no_name_matches(literal) == ""
    assert why_no_identity_matches(literal) == ""


def test_a_name_with_an_umlaut_is_denied_by_every_form_of_it() -> None:
    """RFC 4514 in UTF-8, charon's form with '?', and the one for people all match."""
    (der,) = der_blocks((UMLAUT / "umlaut.pem").read_bytes(), "CERTIFICATE", 10_000)
    read = read_certificate(der)
    assert isinstance(read, Certificate)
    asked = request(certificate=replace(read, not_before=NOW))
    assert peer_of(asked)
    for pattern in ("*CN=Zürich*", "CN=Zürich,*", "*CN=Z??rich", "O=Ex??mple, *", "*, CN=Z\\xfcrich"):
        by = policy(maintenance=(Maintenance(Action.DENY, identity=pattern),))
        assert denial_of(asked, by).reason is Reason.DENIED_BY_MAINTENANCE, pattern


def test_only_the_complete_form_allows() -> None:
    """A pattern in ``subjects`` matches no other form of the name."""
    assert peer_of(request(), rules(subjects=("CN=spoke1,OU=NET=*",)))
    assert denial_of(request(), rules(subjects=("OU=GRE=10.255.0.2, *",))).reason is Reason.SUBJECT_NOT_ALLOWED
    assert certificate().subject_rfc4514 == "CN=spoke1,OU=NET=192.168.2.0/24,OU=AS=64512,OU=GRE=10.255.0.2"


@pytest.mark.parametrize(
    ("table", "where"),
    [
        ('[[policy.maintenance]]\naction = "deny"\nidentity = "O=Exämple, CN=*"\n', "policy.maintenance[1].identity"),
        ('[[policy.peer]]\nidentity = "zürich"\nprotocol_addresses = ["10.255.0.7"]\nas_number = 64520\n',
         "policy.peer[1].identity"),
    ],
)  # fmt: skip
def test_an_identity_that_charon_never_prints_is_refused(table: str, where: str) -> None:
    """charon prints '?' for characters other than ASCII; RFC 4514 can express a certificate's name."""
    with pytest.raises(ConfigError, match=re.escape(where)) as refused:
        config_from(tomllib.loads(CONFIG + table))
    assert "charon prints '?'" in str(refused.value)


def test_attribute_names_are_unique() -> None:
    """Each name stands for one attribute type."""
    assert len(set(ATTRIBUTE_NAMES.values())) == len(ATTRIBUTE_NAMES)
