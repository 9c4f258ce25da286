"""Whatever is missing: no peer is ended before it had time to come back, and none is forgotten."""

from dataclasses import dataclass, field
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from dmvpn_agent.charon.sa import IkeSa
from dmvpn_agent.enforcement.patience import AT_ONCE, LONGEST_PATIENCE, RETURN_TIME, Lack, Patience
from factories import NBMA

LOCAL = NBMA - 1
PATIENCES = (0, 1, 5, 10, 20, 30)


@dataclass
class _Peer:
    """A peer whose registration comes ``delay`` seconds after its IKE_SA, which comes ``away`` seconds after the end.

    ``stays``: its IKE_SA stays when it is ended.
    """

    number: int
    patience: int
    delay: int
    away: int
    stays: bool
    sa: IkeSa | None = None
    since: timedelta = timedelta(0)
    back_at: timedelta = timedelta(0)
    ends: list[timedelta] = field(default_factory=list)
    made: int = 0

    def step(self, now: timedelta) -> Lack | None:
        if self.sa is None and now >= self.back_at:
            self.made += 1
            self.sa = IkeSa(self.made, "dmvpn", "ESTABLISHED", LOCAL, NBMA + self.number, 500, "CN=me", "CN=peer",
                            str(self.made), "0")  # fmt: skip
            self.since = now
        if self.sa is None or now - self.since >= timedelta(seconds=self.delay):
            return None
        return Lack((self.sa,), "unbound", self.since, timedelta(seconds=self.patience))

    def ended(self, now: timedelta) -> None:
        self.ends.append(now)
        if not self.stays:
            self.sa, self.back_at = None, now + timedelta(seconds=self.away)

    def lose(self, now: timedelta) -> None:
        """Its registration is lost: it comes again only with another IKE_SA."""
        self.since = now


peers = st.builds(
    _Peer,
    number=st.just(0),
    patience=st.sampled_from(PATIENCES),
    delay=st.sampled_from([0, 3, 15, 45, 100, 10_000]),
    away=st.sampled_from([0, 1, 15]),
    stays=st.booleans(),
)
losses = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 600)), max_size=4)


@given(st.lists(peers, min_size=1, max_size=3), losses)
def test_nobody_is_ended_twice_in_a_short_time_and_everybody_once(
    several: list[_Peer], losses: list[tuple[int, int]]
) -> None:
    """The gap doubles while the registration is missing; a peer that needs less than its patience is never ended."""
    patience = Patience()
    for number, peer in enumerate(several):
        peer.number = number
    for second in range(1200):
        now = timedelta(seconds=second)
        for which, when in losses:
            if when == second and which < len(several):
                several[which].lose(now)
        lacks = {peer.number: lack for peer in several if (lack := peer.step(now))}
        due, _ = patience.due(now, lacks.values(), [peer.sa for peer in several if peer.sa])
        for lack in due:
            peer = next(one for one in several if one.sa in lack.sas)
            assert now - lack.since >= lack.patience
            assert not peer.ends or now - peer.ends[-1] >= RETURN_TIME
            peer.ended(now)
        for number, lack in lacks.items():
            ends = several[number].ends
            latest = max([lack.since, *ends[-1:]])
            assert now - latest <= max(lack.patience, LONGEST_PATIENCE if ends else timedelta(0))
    for peer in several:
        if peer.delay < peer.patience:
            assert not peer.ends
        if peer.delay == 10_000:
            assert 1 <= len(peer.ends) <= 12 + 4  # 10 s doubled, to 10 min; each loss may start it again
        if not peer.stays and peer.delay <= 100 and not losses:
            assert len(peer.ends) <= 5


@given(st.integers(1, 50))
def test_many_are_ended_a_few_at_a_time(count: int) -> None:
    """Each comes back at once, and has to authenticate."""
    patience = Patience()
    sas = [
        IkeSa(number, "dmvpn", "ESTABLISHED", LOCAL, NBMA + number, 500, "CN=me", "CN=peer", str(number), "0")
        for number in range(count)
    ]
    ended: list[IkeSa] = []
    while len(ended) < count:
        lacks = [Lack((sa,), "unbound", timedelta(0), timedelta(0)) for sa in sas if sa not in ended]
        due, _ = patience.due(timedelta(seconds=1), lacks, sas)
        assert 0 < len(due) <= AT_ONCE
        ended += [sa for lack in due for sa in lack.sas]


def test_what_was_not_read_since_ends_nothing() -> None:
    """The caller reads it again."""
    sa = IkeSa(1, "dmvpn", "ESTABLISHED", LOCAL, NBMA, 500, "CN=me", "CN=peer", "1", "0")
    patience, second = Patience(), timedelta(seconds=1)
    old = Lack((sa,), "unbound", timedelta(0), 30 * second, known_at=29 * second)
    assert patience.due(60 * second, [old], [sa]) == ([], True)
    new = Lack((sa,), "unbound", timedelta(0), 30 * second, known_at=30 * second)
    assert patience.due(60 * second, [new], [sa]) == ([new], False)
