"""Notifications of nftables, as the kernel sends them and as it never does."""

from struct import pack

from hypothesis import given
from hypothesis import strategies as st

from dmvpn_agent.kernel.nftables.notified_tables import concerns

FAMILIES = {"inet": 1, "ip": 2, "ip6": 10, "bridge": 7}
NEW_GENERATION = 15
names = st.from_regex(r"[a-z_]{1,31}", fullmatch=True)


def _padded(octets: bytes) -> bytes:
    return octets + bytes(-len(octets) % 4)


def _attribute(kind: int, value: bytes) -> bytes:
    return _padded(pack("=HH", 4 + len(value), kind) + value)


def _message(kind: int, family: int, attributes: bytes) -> bytes:
    body = pack("=BBH", family, 0, 0) + attributes
    return _padded(pack("=IHHII", 16 + len(body), 10 << 8 | kind, 0, 0, 0) + body)


def _about(family: str, table: str, kind: int = 6) -> bytes:
    return _message(kind, FAMILIES[family], _attribute(2, b"x" * 5) + _attribute(1, table.encode() + b"\0"))


GENERATION = _message(NEW_GENERATION, 0, _attribute(1, bytes(4)))


@given(
    st.lists(st.tuples(st.sampled_from(sorted(FAMILIES)), names, st.sampled_from([0, 3, 6, 9, 12, 18, 22]))), names
)
def test_a_datagram_concerns_the_tables_that_its_messages_name(
    changed: list[tuple[str, str, int]], table: str
) -> None:
    """In its family; the message that ends a transaction names none."""
    datagram = b"".join(_about(*one) for one in changed) + GENERATION
    assert concerns(f"inet {table}", datagram) is any(one[:2] == ("inet", table) for one in changed)


@given(st.binary(min_size=1, max_size=200))
def test_what_cannot_be_read_may_concern_any_table(datagram: bytes) -> None:
    """The agent checks its table once too often rather than once too few."""
    assert isinstance(concerns("inet dmvpn_agent", datagram), bool)


@given(st.integers(1, 39))
def test_a_datagram_that_is_cut_off_concerns_the_table(length: int) -> None:
    """As after MSG_TRUNC."""
    assert concerns("inet dmvpn_agent", _about("ip", "other", 0)[:length])
