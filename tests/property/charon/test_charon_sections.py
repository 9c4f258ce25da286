"""Messages of charon with arbitrary values."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dmvpn_agent.charon.events import ALERT_EVENT, SA_EVENTS, SaEvent, decode_event
from dmvpn_agent.charon.sa_reader import parse_ike_sas
from dmvpn_agent.charon.vici import Packet, PacketType, Section, ViciError, decode, encode
from factories import NOW
from fakes.charon import FakeSa

SECTION = FakeSa(7, "203.0.113.2", "CN=spoke1", children={3: "INSTALLED"}).section()
CHILD = FakeSa(7, "203.0.113.2", "", children={3: "INSTALLED"}).child(3)
VALUES: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(["", "yes", "-1", "0", "9" * 20, "9" * 5000, "²", "%any", "::1", "1.2.3.4", "INSTALLED"]),
    st.binary(max_size=12),
    st.lists(st.binary(max_size=3), max_size=2),
    st.dictionaries(st.sampled_from(["old", "new", "uniqueid", "x"]), st.just(CHILD), max_size=2),
)


@st.composite
def messages(draw: st.DrawFn) -> Section:
    child = {**CHILD, **draw(st.dictionaries(st.sampled_from(sorted(CHILD)), VALUES, max_size=3))}
    whole = {**SECTION, "child-sas": {"dmvpn-3": child}}
    section = {**whole, **draw(st.dictionaries(st.sampled_from(sorted(whole)), VALUES, max_size=3))}
    for key in draw(st.sets(st.sampled_from(sorted(whole)), max_size=3)):
        section.pop(key, None)
    nested = draw(st.sampled_from([section, {"old": section, "new": section}]))
    message = {"type": draw(VALUES), "up": draw(VALUES), "dmvpn": nested, "ike-sa": {"dmvpn": section}}
    return decode(encode(Packet(PacketType.EVENT, "x", message))[4:]).message


@given(messages())
def test_reading_sas_raises_only_a_vici_error(message: Section) -> None:
    """A number out of range, or a section in place of a value, is a ViciError; an SA that is returned is complete."""
    try:
        for sa in parse_ike_sas(message, NOW):
            assert sa.unique_id >= 0
            assert all(min(child.traffic) >= 0 for child in sa.children)
    except ViciError:
        pass


@given(messages(), st.sampled_from([*SA_EVENTS, ALERT_EVENT, "x"]))
def test_decoding_an_event_raises_nothing(message: Section, name: str) -> None:
    """An event has IKE_SAs or a problem, never both."""
    event = decode_event(name, message, {"dmvpn"}, NOW)
    if isinstance(event, SaEvent):
        assert not (event.problem and event.ike_sas)
        assert {sa.unique_id for sa in event.ike_sas} <= event.ike_ids
