"""The kernel's answers about IPsec: whatever arrives, the reader ends with SAs or with ``XfrmError``."""

import contextlib
import struct

from hypothesis import given
from hypothesis import strategies as st

from dmvpn_agent.kernel.xfrm import Answer, XfrmError

HEADER = struct.Struct("=IHHII")

messages = st.builds(
    lambda kind, flags, body: HEADER.pack(HEADER.size + len(body), kind, flags, 1, 0) + body,
    st.sampled_from([2, 3, 0x10, 0x13, 0x77]), st.integers(0, 0xFFFF), st.binary(max_size=400),
)  # fmt: skip


@given(st.lists(messages, max_size=4).map(b"".join) | st.binary(max_size=400))
def test_any_datagram(datagram: bytes) -> None:
    """No other exception, and no endless loop."""
    with contextlib.suppress(XfrmError):
        Answer(1).feed(datagram)


@given(st.binary(min_size=224, max_size=300))
def test_any_sa(body: bytes) -> None:
    """An SA of an unknown address family is passed over."""
    answer = Answer(1)
    with contextlib.suppress(XfrmError):
        answer.feed(HEADER.pack(HEADER.size + len(body), 0x10, 0, 1, 0) + body)
    for sa in answer.sas:
        assert sa.source.version == sa.destination.version
        assert len(sa.spi) == 8
