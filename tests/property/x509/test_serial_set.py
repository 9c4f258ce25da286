"""A CRL's serial numbers in little memory are the set that they stand for."""

from hypothesis import given
from hypothesis import strategies as st

from dmvpn_agent.x509 import serial_set as module
from dmvpn_agent.x509.serial_set import SerialSet

NUMBERS = st.integers(-(2**170), 2**170) | st.integers(-300, 300)


@given(st.sets(NUMBERS, max_size=50), st.lists(NUMBERS, max_size=20))
def test_it_has_what_a_set_has(numbers: set[int], others: list[int]) -> None:
    """Negative ones, zero and those longer than 20 octets too."""
    serials = SerialSet.of(*numbers)
    assert set(serials) == numbers
    assert len(serials) == len(numbers)
    assert all((number in serials) == (number in numbers) for number in [*others, *numbers])
    assert serials == SerialSet.of(*sorted(numbers))
    assert serials == frozenset(numbers)


@given(st.sets(NUMBERS, max_size=20))
def test_octets_in_front_do_not_count(numbers: set[int]) -> None:
    """A serial number written longer than it need be is the same one."""
    contents = [number.to_bytes(number.bit_length() // 8 + 3, signed=True) for number in numbers]
    assert set(SerialSet(contents)) == numbers


def test_many_are_sorted_in_parts() -> None:
    """More than are sorted at once."""
    numbers = range(0, 7 * (2 * module.SORTED_AT_ONCE + 5), 7)
    serials = SerialSet.of(*reversed(numbers))
    assert list(serials) == list(numbers)
    assert all((number in serials) == (number % 7 == 0) for number in range(numbers.stop))
