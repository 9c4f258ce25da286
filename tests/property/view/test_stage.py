"""Properties of the stage and of the names of peers."""

from dataclasses import fields, replace

from hypothesis import given
from hypothesis import strategies as st

from dmvpn_agent.view.join import join
from dmvpn_agent.view.stage import Evidence, Stage, stage_of
from factories import certificate, request
from joining import bgp, denial, member, sa, sources

_OPTIONAL = st.sampled_from([True, False, None])
EVIDENCE = st.builds(
    Evidence,
    ike=_OPTIONAL,
    authentication_failed=st.booleans(),
    child=_OPTIONAL,
    bound=_OPTIONAL,
    denied=st.booleans(),
    bgp=_OPTIONAL,
    accepted=_OPTIONAL,
    filtered=_OPTIONAL,
)
NEEDED = ("ike", "child", "bound", "bgp", "accepted")


@given(EVIDENCE)
def test_every_evidence_has_a_stage(evidence: Evidence) -> None:
    """And a peer is up if and only if it passed everything and was not denied."""
    passed = all(getattr(evidence, name) for name in NEEDED) and not evidence.denied
    assert (stage_of(evidence) is Stage.UP) is passed


@given(EVIDENCE)
def test_what_cannot_be_known_is_never_called_up(evidence: Evidence) -> None:
    """A missing daemon hides no failure that another one shows."""
    unknown = any(getattr(evidence, name) is None for name in NEEDED)
    failed = evidence.denied or any(getattr(evidence, name) is False for name in NEEDED)
    assert (stage_of(evidence) is Stage.UNKNOWN) is (unknown and not failed)


@given(EVIDENCE, st.sampled_from(NEEDED))
def test_passing_one_more_check_never_leads_back(evidence: Evidence, name: str) -> None:
    """The stages have an order; UNKNOWN, which is about daemons, has none."""
    order: list[Stage] = [stage for stage in Stage if stage is not Stage.UNKNOWN]
    before, after = stage_of(evidence), stage_of(replace(evidence, **{name: True}))
    if Stage.UNKNOWN in {before, after} or evidence.denied or evidence.authentication_failed:
        return
    assert order.index(after) >= order.index(before)


def test_the_evidence_names_every_check() -> None:
    """The properties above know all of its fields."""
    assert {one.name for one in fields(Evidence)} == {*NEEDED, "authentication_failed", "denied", "filtered"}


@given(st.data())
def test_names_are_unique_and_stable(data: st.DataObject) -> None:
    """Whatever labels certificates have; the peers that were ever accepted keep their names."""
    numbers = data.draw(st.lists(st.integers(1, 6), unique=True, max_size=5))
    members = tuple(
        member(number, request=request(
            certificate=certificate(f"GRE=10.255.0.{number}", f"AS={64512 + number}", f"NET=192.168.{number}.0/24",
                                    name=data.draw(st.sampled_from(["one", "two", ""]))),
            protocol_address=member(number).peer.protocol_address))
        for number in numbers
    )  # fmt: skip
    denials = tuple(denial(number) for number in data.draw(st.lists(st.integers(1, 9), max_size=4)))
    found = sources(members=members, denials=denials, sas=tuple(sa(number) for number in numbers), bgp=bgp(members))
    peers = join(found)
    names = {peer.key: peer.name for peer in peers}
    assert len(set(names.values())) == len(peers)
    again = join(replace(found, names=names, members=tuple(reversed(members))))
    accepted = {peer.key for peer in peers if peer.accepted}
    assert {key: names[key] for key in accepted} == {peer.key: peer.name for peer in again if peer.key in accepted}
