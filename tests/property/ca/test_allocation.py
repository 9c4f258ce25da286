"""The allocation of blocks, against a model that tries every place."""

from collections.abc import Iterable
from ipaddress import IPv4Network, ip_network
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ca_registry import make_registry
from dmvpn_agent.addresses import AsRange
from dmvpn_agent.ca.allocation import Owner, allocate, give
from dmvpn_agent.ca.block import Block, Kind, block_at, first_free, is_usable
from dmvpn_agent.ca.errors import CaError
from dmvpn_agent.ca.profile import Networks
from dmvpn_agent.ca.reading import read_holdings

POOL = Block.of_network(Kind.PREFIX, ip_network("10.0.0.0/26"))
KINDS = st.sampled_from(
    [(Kind.ADDRESS, 4), (Kind.ADDRESS, 6), (Kind.PREFIX, 4), (Kind.PREFIX, 6), (Kind.AS_NUMBER, 0)]
)


def aligned(pool: Block, size: int) -> Iterable[Block]:
    """Every block of this size in a pool, aligned, in ascending order."""
    first = -(-pool.low // size) * size
    for low in range(first, pool.high - size + 2, size):
        if size > 1 or is_usable(pool, low):
            yield Block(pool.kind, pool.version, low, low + size - 1)


def disjoint(blocks: list[Block]) -> list[Block]:
    kept: list[Block] = []
    for block in sorted(blocks, key=lambda one: one.start):
        if not kept or not block.overlaps(kept[-1]):
            kept.append(block)
    return kept


@st.composite
def taken_blocks(draw: st.DrawFn, pool: Block) -> list[Block]:
    found = []
    for _ in range(draw(st.integers(0, 12))):
        size = 1 << draw(st.integers(0, 4))
        low = pool.low + draw(st.integers(0, (pool.high - pool.low) // size)) * size
        found.append(Block(pool.kind, pool.version, low, low + size - 1))
    return disjoint(found)


@given(st.data(), KINDS, st.integers(0, 5), st.integers(0, 70))
def test_first_free_is_the_first_that_is_free(
    data: st.DataObject, kind: tuple[Kind, int], bits: int, at: int
) -> None:
    """The same as trying one after the other."""
    name, version = kind
    pool = Block(name, version, POOL.low, POOL.high)
    taken = data.draw(taken_blocks(pool))
    size, at_least = 1 << bits, pool.low + at
    possible = (one for one in aligned(pool, size) if one.low >= at_least)
    expected = next((one for one in possible if not any(one.overlaps(other) for other in taken)), None)
    assert first_free(pool, size, taken, at_least) == expected


@given(KINDS, st.integers(0, 2**32 - 1), st.integers(0, 31))
def test_a_position_says_kind_and_value(kind: tuple[Kind, int], low: int, bits: int) -> None:
    """And blocks of different kinds never overlap."""
    size = 1 << bits
    block = Block(*kind, low // size * size, low // size * size + size - 1)
    assert block_at(block.start, block.stop) == block
    others = [Block(name, version, block.low, block.high) for name, version in
              ((Kind.ADDRESS, 4), (Kind.PREFIX, 4), (Kind.AS_NUMBER, 0)) if (name, version) != kind]  # fmt: skip
    assert not any(block.overlaps(other) for other in others)


class Registry(RuleBasedStateMachine):
    """Operators give and take at random; the model is a list of what was given."""

    @initialize()
    def make(self) -> None:
        self.folder = TemporaryDirectory()
        networks = Networks((ip_network("10.255.0.0/28"),), (ip_network("10.0.0.0/26"), ip_network("10.0.1.0/28")),
                            (AsRange(64512, 64530),))  # fmt: skip
        self.database = make_registry(Path(self.folder.name) / "r", networks=networks)
        with self.database.reading() as connection:
            self.given = [one.block for one in read_holdings(connection)]

    def teardown(self) -> None:
        self.folder.cleanup()

    @rule(bits=st.integers(0, 4))
    def a_prefix_by_length(self, bits: int) -> None:
        self._allocate(Kind.PREFIX, 1 << bits, [IPv4Network("10.0.0.0/26"), IPv4Network("10.0.1.0/28")])

    @rule()
    def an_address(self) -> None:
        self._allocate(Kind.ADDRESS, 1, [IPv4Network("10.255.0.0/28")])

    def _allocate(self, kind: Kind, size: int, pools: list[IPv4Network]) -> None:
        possible = [one for pool in pools for one in aligned(Block.of_network(kind, pool), size)]
        free = [one for one in possible if not any(one.overlaps(other) for other in self.given)]
        try:
            with self.database.writing() as connection:
                found = allocate(connection, kind, 4, size, Owner(note="x"))
        except CaError:
            assert not free
        else:
            assert found in free
            self.given.append(found)

    @rule(low=st.integers(0, 63), bits=st.integers(0, 4))
    def a_prefix_by_name(self, low: int, bits: int) -> None:
        size = 1 << bits
        block = Block(Kind.PREFIX, 4, POOL.low + low // size * size, POOL.low + low // size * size + size - 1)
        try:
            with self.database.writing() as connection:
                give(connection, block, Owner(note="x"))
        except CaError:
            assert any(block.overlaps(other) for other in self.given)
        else:
            assert not any(block.overlaps(other) for other in self.given)
            self.given.append(block)

    @invariant()
    def the_registry_has_what_was_given(self) -> None:
        with self.database.reading() as connection:
            assert sorted(one.block for one in read_holdings(connection)) == sorted(self.given)


TestRegistry = Registry.TestCase
TestRegistry.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)
