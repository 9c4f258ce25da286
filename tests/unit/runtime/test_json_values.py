"""Values from JSON of other programs."""

import json
import sys
from collections.abc import Callable

import pytest

from dmvpn_agent.admission.recording import RecordingError, read
from dmvpn_agent.bgp.sessions import parse_bgp_summary
from dmvpn_agent.bridge.handover_state import BadHandover, decode_handover
from dmvpn_agent.doctor.node_text import parse_links
from dmvpn_agent.frr.nhrp_cache import parse_nhrp_cache
from dmvpn_agent.frr.show_json import FrrFormatError
from dmvpn_agent.kernel.nftables.shown_table import NftFormatError, parse_table
from dmvpn_agent.runtime import json_values as typed

DEEP = sys.getrecursionlimit()
FORMS = {
    "parse_nhrp_cache": (parse_nhrp_cache, '{"table": [{}]}', FrrFormatError),
    "parse_bgp_summary": (parse_bgp_summary, '{"peers": {"10.0.0.1": {}}}', FrrFormatError),
    "parse_table": (parse_table, '{"nftables": [{}]}', NftFormatError),
    "parse_links": (parse_links, '[{"ifname": {}}]', ValueError),
    "read": (lambda text: read(text.encode()), '{"v": {}}', RecordingError),
    "decode_handover": (lambda text: decode_handover(text.encode()), '{"version": 1, "clients": {}}', BadHandover),
}


@pytest.mark.parametrize("name", FORMS)
def test_no_depth_is_too_deep(name: str) -> None:
    """A value that can just be parsed may be too deep to print: all depths near the limit are tried."""
    reader: Callable[[str], object]
    reader, form, error = FORMS[name]  # type: ignore[assignment]
    for depth in (*range(DEEP - 200, DEEP + 10), 100_000):
        nested = "[" * depth + "]" * depth
        with pytest.raises(error):
            reader(form.replace("{}", nested, 1) if "[{}]" not in form else form.replace("{}", nested))


def test_a_value_is_abbreviated() -> None:
    """By its first characters. From Python 3.12 on, repr has a limit of its own."""
    deep: list[object] = []
    for _ in range(200_000):
        deep = [deep]
    assert typed.brief("x" * 100) == "'" + "x" * 39
    assert typed.brief(deep) == "a value nested too deep"


def test_a_document_is_json() -> None:
    """Or a ``ValueError``."""
    assert typed.document(b'{"a": [1]}') == {"a": [1]}
    for text in ("", "[" * 100_000, "\ud800", b"\xff", "9" * 5000):
        with pytest.raises(ValueError, match=r"."):
            typed.document(text)
    assert json.dumps(typed.document("NaN")) == "NaN"
