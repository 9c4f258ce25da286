"""What was computed last is not computed again for the same arguments."""

from operator import eq

from dmvpn_agent.runtime.last_result import LastResult


async def test_other_arguments_are_computed() -> None:
    """Only the last result is kept, and an equal argument is another one unless ``same`` says so."""
    computed: list[list[int]] = []

    def add(*numbers: list[int]) -> int:
        computed.append(numbers[0])
        return sum(map(sum, numbers))

    for same, times in ((None, 3), (eq, 2)):
        computed.clear()
        last = LastResult(add, same) if same else LastResult(add)
        one, equal, other = [1, 2], [1, 2], [1, 3]
        assert [await last.of(one) for _ in range(3)] == [3, 3, 3]
        assert await last.of(equal) == 3
        assert await last.of(other) == 4
        assert len(computed) == times
