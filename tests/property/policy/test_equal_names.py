"""Names that RFC 5280, section 7.1, calls equal, and patterns for them."""

from fnmatch import fnmatchcase

from hypothesis import assume, given
from hypothesis import strategies as st

import certificates
from certificates import COMMON_NAME, ORGANIZATION, attribute, name
from dmvpn_agent.policy.decision import Deny
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.policy.rules import Action, Maintenance
from dmvpn_agent.x509.certificate import Certificate
from dmvpn_agent.x509.certificate_reader import read_certificate
from dmvpn_agent.x509.name import canonical_name, folded_name, folded_text
from factories import decide, policy, request

LETTERS = (
    "aAsS1\uff21\uff11\u00df\u1e9e\u0130\ufb01 \t\u00a0\u3000\u200b\u00ad,\uff0c+=\uff1d\\\uff3cC2*[\ue000\u0378"
)
TEXTS = st.text(LETTERS, min_size=1, max_size=6)


@st.composite
def respelt(draw: st.DrawFn) -> tuple[str, str]:
    """A text, and one that differs from it in case, white space, width or invisible characters."""
    text = draw(TEXTS)
    other = []
    for char in text:
        wide = chr(ord(char) + 0xFEE0) if "!" <= char <= "~" else char
        other.append(draw(st.sampled_from([char, char.swapcase(), wide, char + "\u200b"])))
        other += [draw(st.sampled_from([" ", "  ", "\u00a0"]))] if char.isspace() else []
    edge = st.sampled_from(["", " "])
    return text, draw(edge) + "".join(other) + draw(edge)


def named(text: str) -> bytes:
    return name(attribute(ORGANIZATION, "Example"), attribute(COMMON_NAME, text))


def certificate_of(text: str) -> Certificate:
    read = read_certificate(certificates.der(named(text)))
    assert isinstance(read, Certificate)
    return read


@given(respelt())
def test_equal_names_fold_to_one_text(pair: tuple[str, str]) -> None:
    """In charon's order and in RFC 4514's."""
    one, other = pair
    assume(canonical_name(named(one)) == canonical_name(named(other)))
    assert folded_name(named(one)) == folded_name(named(other))
    written = {folded_text(certificate_of(text).subject_rfc4514) for text in pair}
    assert len(written) == 1


@given(respelt())
def test_a_pattern_of_a_name_denies_each_equal_name(pair: tuple[str, str]) -> None:
    """The operator copies the name that ``explain`` shows; wildcards within it match themselves too."""
    one, other = pair
    assume(canonical_name(named(one)) == canonical_name(named(other)))
    pattern = certificate_of(one).subject_rfc4514.replace("[", "?").replace("*", "?")
    assert fnmatchcase(certificate_of(one).subject_rfc4514, pattern)
    by = policy(maintenance=(Maintenance(Action.DENY, identity=pattern),))
    decision = decide(request(certificate=certificate_of(other)), by)
    assert isinstance(decision, Deny)
    assert decision.reason is Reason.DENIED_BY_MAINTENANCE


@given(TEXTS)
def test_folding_twice_changes_nothing(text: str) -> None:
    """Except for backslashes, which are then no hexadecimal digits any more."""
    assume("\\" not in text and "\uff3c" not in text)
    assert folded_text(folded_text(text)) == folded_text(text)
