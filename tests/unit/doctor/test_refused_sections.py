"""The doctor's check of a section that nft refuses."""

from dataclasses import replace

from dmvpn_agent.doctor.check import Level
from dmvpn_agent.doctor.node import Unknown
from unit.doctor.test_doctor import EXPECTED, SOUND, _problems


def test_a_refused_section_is_a_fault_with_its_remedy() -> None:
    """Instead of being missing, for which the agent would have to be started."""
    expected = replace(EXPECTED, sections={"MSS clamp": frozenset({"chain clamp_mss"})})
    node = replace(SOUND, table=frozenset(), refusals={"MSS clamp": ("not supported", "update the kernel")})
    problem = _problems(node, expected)["MSS clamp"]
    assert (problem.level, problem.do) == (Level.FAULT, "update the kernel")
    assert "not supported" in problem.found
    unknown: tuple[dict[str, tuple[str, str]] | Unknown, ...] = ({}, Unknown("no permission"))
    for refusals in unknown:
        assert _problems(replace(node, refusals=refusals), expected)["MSS clamp"].found == "missing"
