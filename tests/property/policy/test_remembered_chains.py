"""A cached chain validation equals a fresh one, however the clock moves."""

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from deciding import CA, revoking, trusting
from dmvpn_agent.policy.chain_rules import ChainValidator
from dmvpn_agent.x509.trust import Chain, Issuer
from factories import NOW, certificate, policy

DAYS = st.integers(-5, 5).map(lambda days: timedelta(days=days))
SINCE, UNTIL = (st.integers(low, low + 6).map(lambda days: timedelta(days=days)) for low in (-5, -1))
LISTS = st.builds(
    lambda since, until, own: revoking(1, this_update=NOW + since, current_until=NOW + until, signed_by_issuer=own),
    SINCE, UNTIL, st.booleans(),
)  # fmt: skip


@st.composite
def chains(draw: st.DrawFn) -> Chain:
    """Return two CAs, each valid for a while, with lists that are current for a while."""
    return Chain(
        tuple(
            Issuer(
                replace(CA, fingerprint=name, not_before=NOW + draw(SINCE), not_after=NOW + draw(UNTIL)),
                tuple(draw(st.lists(LISTS, min_size=1, max_size=2))),
            )
            for name in ("ca", "root")
        )
    )


@given(st.lists(chains(), min_size=1, max_size=2), st.lists(DAYS, max_size=6), st.booleans())
def test_the_cache_never_changes_the_result(found: list[Chain], times: list[timedelta], requires_crl: bool) -> None:
    """This is so forwards and backwards in time, with and without required CRLs."""
    by, trust = policy(requires_crl=requires_crl), trusting(*found)
    remembering = ChainValidator(by, trust)
    for time in times:
        passed = [
            all(check.passed for check in validator.validate(certificate(), NOW + time).checks)
            for validator in (remembering, ChainValidator(by, trust))
        ]
        assert passed[0] == passed[1]
