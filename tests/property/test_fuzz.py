"""A short stretch of the campaign that ``python -m fuzz`` runs at length."""

from fuzz.__main__ import run


def test_a_short_campaign_finds_nothing() -> None:
    """No exception escapes, nothing false is accepted, nothing takes long; and a good part is understood."""
    tally = run(seed=0, chunk=0, count=4000)
    assert tally.findings == []
    assert tally.inputs.total() == 4000
    assert all(tally.understood[name] for name in tally.inputs)


def test_a_campaign_can_be_repeated() -> None:
    """The same seed makes the same inputs."""
    first, second = (run(seed=1, chunk=2, count=300) for _ in range(2))
    assert (first.inputs, first.understood) == (second.inputs, second.understood)
