"""A ``SerialSet`` equals the set of its serial numbers."""

from hypothesis import given
from hypothesis import strategies as st

from dmvpn_agent.x509 import serial_set as module
from dmvpn_agent.x509.serial_set import SerialSet

NUMBERS = st.integers(-(2**170), 2**170) | st.integers(-300, 300)


@given(st.sets(NUMBERS, max_size=50), st.lists(NUMBERS, max_size=20))
def test_it_contains_what_a_set_contains(numbers: set[int], others: list[int]) -> None:
    """Negative numbers, zero and numbers longer than 20 octets are included."""
    serials = SerialSet.of(*numbers)
    assert set(serials) == numbers
    assert len(serials) == len(numbers)
    assert all((number in serials) == (number in numbers) for number in [*others, *numbers])
    assert serials == SerialSet.of(*sorted(numbers))
    assert serials == frozenset(numbers)


@given(st.sets(NUMBERS, max_size=20))
def test_leading_octets_do_not_count(numbers: set[int]) -> None:
    """A serial number with redundant leading octets is the same number."""
    contents = [number.to_bytes(number.bit_length() // 8 + 3, signed=True) for number in numbers]
    assert set(SerialSet(contents)) == numbers


def test_many_are_sorted_in_parts() -> None:
    """More numbers than are sorted at once give the same set."""
    numbers = range(0, 7 * (2 * module.SORTED_AT_ONCE + 5), 7)
    serials = SerialSet.of(*reversed(numbers))
    assert list(serials) == list(numbers)
    assert all((number in serials) == (number % 7 == 0) for number in range(numbers.stop))
