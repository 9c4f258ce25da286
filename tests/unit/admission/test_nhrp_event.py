"""nhrpd's event protocol."""

import pytest

from dmvpn_agent.admission.nhrp_event import (
    MAX_MESSAGE_BYTES,
    AuthorizeBinding,
    BadEvent,
    EventError,
    EventReader,
    answer,
    parse_event,
)
from dmvpn_agent.policy.request import BindingType
from dmvpn_agent.x509.certificate import BadCertificate, Certificate
from factories import ADDRESS, NBMA, der, event


def _parse(message: bytes) -> AuthorizeBinding | BadEvent:
    return parse_event(message.removesuffix(b"\n\n"))


def test_an_event_of_nhrpd_is_read() -> None:
    """All that the decision needs is there, the certificate parsed."""
    read = _parse(event(7))
    assert isinstance(read, AuthorizeBinding)
    assert read.event_id == 7
    asked = read.request
    assert (asked.interface, asked.binding_type) == ("gre1", BindingType.DYNAMIC)
    assert (asked.protocol_address, asked.nbma_address) == (ADDRESS, NBMA)
    assert isinstance(asked.certificate, Certificate)


def test_an_empty_certificate_is_none() -> None:
    """nhrpd writes an empty field where it has no certificate."""
    read = _parse(event(der_hex=""))
    assert isinstance(read, AuthorizeBinding)
    assert read.request.certificate is None


@pytest.mark.parametrize("text", ["zz", "0", "30", der().hex()[:-2]])
def test_a_broken_certificate_is_a_value_of_a_good_event(text: str) -> None:
    """The event is answered under its id, with the certificate's trouble as the reason."""
    read = _parse(event(der_hex=text))
    assert isinstance(read, AuthorizeBinding)
    assert isinstance(read.request.certificate, BadCertificate)


BAD = [
    # message, id that can be answered, part of what is said
    (b"eventid=1", 1, "event is 'missing'"),
    (b"eventid=1\nevent=shutdown", 1, "event is 'shutdown'"),
    (b"event=authorize-binding", None, "eventid is 'missing'"),
    (b"eventid=0\nevent=authorize-binding", None, "eventid is '0'"),
    (b"eventid=-1\nevent=authorize-binding", None, "eventid is '-1'"),
    (b"eventid=4294967296\nevent=authorize-binding", None, "eventid is '4294967296'"),
    (b"eventid=1\neventid=2", 1, "occurs twice"),
    (b"eventid=1\nnonsense", 1, "is not key=value"),
    (b"eventid=1\nsubject=\xc3\xa4", 1, "not ASCII"),
    (b"", None, "is not key=value"),
    (event(remote_addr="10.255.0.2 "), 1, "does not appear to be an IPv4 or IPv6 address"),
    (event(remote_nbma=""), 1, "does not appear to be an IPv4 or IPv6 address"),
    (event(type="friendly"), 1, "'friendly' is not a valid BindingType"),
    (event().split(b"\nremote_addr")[0], 1, "remote_addr is missing"),
]


@pytest.mark.parametrize(("message", "event_id", "why"), BAD, ids=[why for _, _, why in BAD])
def test_what_cannot_be_understood_says_why(message: bytes, event_id: int | None, why: str) -> None:
    """The id is kept where there is one, so that the denial reaches nhrpd at once and not after 10 s."""
    read = _parse(message)
    assert isinstance(read, BadEvent)
    assert read.event_id == event_id
    assert why in read.why


def test_unknown_fields_are_passed_over() -> None:
    """A newer nhrpd may tell more."""
    assert isinstance(_parse(event(colour="blue")), AuthorizeBinding)


def test_a_message_of_just_the_limit_is_read_however_it_arrives() -> None:
    """The limit is the message's, not the buffer's: its empty line may come in two halves."""
    message = b"x" * MAX_MESSAGE_BYTES
    reader = EventReader()
    assert list(reader.feed(message + b"\n")) == []
    assert len(list(reader.feed(b"\n"))) == 1


@pytest.mark.parametrize("end", [b"", b"\n\n"])
def test_a_longer_message_ends_the_stream(end: bytes) -> None:
    """Whoever sends it is not nhrpd."""
    with pytest.raises(EventError, match="longer than 16384"):
        list(EventReader().feed(b"x" * (MAX_MESSAGE_BYTES + 2) + end))


def test_messages_before_a_too_long_one_are_given() -> None:
    """The error comes in its place in the stream."""
    stream = EventReader().feed(event() + b"x" * 20000)
    assert isinstance(next(stream), AuthorizeBinding)
    with pytest.raises(EventError):
        next(stream)


def test_an_unfinished_message_is_told() -> None:
    """The socket puts a time limit on it."""
    reader = EventReader()
    assert not reader.unfinished
    list(reader.feed(event() + b"eve"))
    assert reader.unfinished


def test_answers_are_in_nhrpds_form() -> None:
    """FRR reads ``eventid`` and ``result`` up to an empty line."""
    assert answer(9, accept=True) == b"eventid=9\nresult=accept\n\n"
    assert answer(9, accept=False) == b"eventid=9\nresult=deny\n\n"
