"""``lint-policy``: each finding, and the rules in force."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from dmvpn_agent.cli.main import main
from dmvpn_agent.runtime.document import Exit
from documented import assert_documented

GENERAL = """\
role = "hub"
[bgp]
as_number = 65000
[policy]
tunnel_networks = ["10.255.0.0/24"]
allowed_networks = ["192.168.0.0/16"]
"""

CONTRADICTIONS = [
    ('[policy.sources]\norder = ["rfc3779"]',
     "policy.sources: no source names protocol addresses: add subject or subject_alt_name"),
    ("allowed = false", "policy: no kind of peer is allowed on any interface"),
    ("require_crl = true", "policy.require_crl: denies every certificate: policy.crls names no CRLs,"
     " and crl.fetch is false"),
    ("[policy.spoke]\nrequire_hub_role = true",
     "policy, gre1, spoke: require_hub_role denies every peer that is not a hub: set it in [policy.hub]"),
    ("max_prefix_length = 12",
     "policy, gre1, hub and spoke: no prefix in allowed_networks 192.168.0.0/16 has a length of /12 or less"),
    ('forbidden_networks = ["192.0.0.0/8"]',
     "policy, gre1, hub and spoke: 192.0.0.0/8 forbids all of 192.168.0.0/16 in allowed_networks"),
    ('[policy.hub]\nas_numbers = ["23456", "65535"]',
     "policy, gre1, hub: as_numbers has only reserved numbers: 23456 or 65535"),
    ('as_numbers = ["65000", "65001-65010"]',
     "policy, gre1, hub and spoke: as_numbers names the node's own AS number, 65000, and allow_ibgp is false"),
    ('[[policy.peer]]\nidentity = "a"\nprotocol_addresses = ["10.255.0.2"]\nas_number = 3320',
     "policy.peer[1] (a): would be denied: as_number_not_allowed: 3320, expected an AS number in"
     " 64512-65534 or 4200000000-4294967294"),
    ('[[policy.peer]]\nidentity = "a"\nprotocol_addresses = ["10.1.0.2"]\nas_number = 64512',
     "policy.peer[1] (a): would be denied: protocol_address_outside_tunnel: 10.1.0.2, expected an address in"
     " 10.255.0.0/24"),
    ('[[policy.peer]]\nidentity = "a"\nprotocol_addresses = ["10.255.0.2"]\nas_number = 64512\n'
     '[[policy.peer]]\nidentity = "b"\nprotocol_addresses = ["10.255.0.2"]\nas_number = 64513',
     "policy.peer: 10.255.0.2 is given to a and to b"),
]  # fmt: skip

DOUBTFUL = [
    ('[policy.sources]\norder = ["subject"]\ncombine = "agree"',
     "policy.sources: combine = agree has no effect with one source"),
    ('forbidden_networks = ["172.16.0.0/12"]',
     "policy, gre1, hub and spoke: forbidden_networks 172.16.0.0/12 has no effect: it is not in allowed_networks"),
    ('[policy.hub]\nforbidden_networks = ["10.255.0.0/16"]\nallowed_networks = ["10.0.0.0/8"]',
     "policy, gre1, hub: forbidden_networks 10.255.0.0/16 keeps out routes to protocol addresses in 10.255.0.0/24"),
    ('subjects = ["C=FI,O=lab,*"]',
     "policy, gre1, hub and spoke: the pattern 'C=FI,O=lab,*' begins with the country, which comes last in a name"
     " (RFC 4514)"),
    ('[policy.spoke]\ntunnel_networks = ["10.255.0.0/24", "10.255.0.0/16"]',
     "policy, gre1, spoke: tunnel_networks 10.255.0.0/24 and 10.255.0.0/16 overlap"),
    ('[[policy.peer]]\nidentity = "*"\noverride = true\nprotocol_addresses = ["10.255.0.2"]\nas_number = 64512',
     "policy.peer[1] (*): overrides the certificate of every peer"),
    ('[[policy.maintenance]]\naction = "deny"\nidentity = "*"', "policy.maintenance: denies every peer"),
    ('[[policy.maintenance]]\naction = "deny"\nserial = "2a"\n[[policy.maintenance]]\naction = "quarantine"\n'
     'serial = "2a"', "policy.maintenance: quarantine of serial 2a has no effect: the same peer is denied"),
]  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "agent.toml"


def lint(file: Path, capsys: pytest.CaptureFixture[str], special: str) -> tuple[int, Any]:
    file.write_text(GENERAL + special + "\n")
    status = main(["lint-policy", "--json", "--config", str(file)])
    return status, json.loads(capsys.readouterr().out)["data"]


def texts(result: Any, *, contradictions: bool) -> list[str]:
    found = (one for one in result["findings"] if one["contradiction"] is contradictions)
    return [f"{one['where']}: {one['text']}" for one in found]


def test_a_sound_policy_has_no_findings(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 0; the rules in force are printed."""
    file.write_text(GENERAL)
    assert main(["lint-policy", "--config", str(file)]) == 0
    text = capsys.readouterr().out
    assert re.match(r"The policy has no contradiction and nothing doubtful\.\n\nON gre1 +HUB ", text)
    assert re.search(r"^prefixes in +192\.168\.0\.0/16 ", text, re.MULTILINE)
    assert re.search(r"^may announce +all of these, for other peers +the prefixes of", text, re.MULTILINE)


@pytest.mark.parametrize(("special", "finding"), CONTRADICTIONS)
def test_a_contradiction_is_shown_and_refused(
    special: str, finding: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``lint-policy`` shows it with exit status 1; every other command refuses it with the same text."""
    status, result = lint(file, capsys, special)
    assert (status, result["contradictory"]) == (1, True)
    assert texts(result, contradictions=True) == [finding]
    assert main(["check", "--config", str(file)]) == Exit.CONFIGURATION
    assert f"{file}: {finding} (`dmvpn-agent lint-policy`" in capsys.readouterr().err


@pytest.mark.parametrize(("special", "finding"), DOUBTFUL)
def test_a_doubtful_rule_is_shown_and_works(
    special: str, finding: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 0; the other commands accept the configuration."""
    status, result = lint(file, capsys, special)
    assert (status, result["contradictory"]) == (0, False)
    assert texts(result, contradictions=False) == [finding]
    assert main(["check", "--config", str(file)]) == 0


def test_all_findings_are_shown_the_contradictions_first(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A refused configuration shows only the first one."""
    file.write_text(GENERAL + "max_prefix_length = 12\nforbidden_networks = ['172.16.0.0/12', '192.0.0.0/8']\n")
    assert main(["lint-policy", "--config", str(file)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("CONTRADICTIONS")
    assert lines[3].startswith("DOUBTFUL")
    assert [line.split(": ")[1].split(" ")[0] for line in lines[1:3]] == ["no", "192.0.0.0/8"]


def test_an_invalid_configuration_has_no_findings(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command ends with the exit status of an invalid configuration."""
    file.write_text("role = 'router'\n")
    assert main(["lint-policy", "--config", str(file)]) == Exit.CONFIGURATION


def test_kinds_and_interfaces_have_their_own_columns(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table for each interface, with a column for each kind of peer whose rules differ; one table for all peers."""
    file.write_text(
        GENERAL.replace(
            "[policy]",
            "ibgp_peer_group = 'internal'\n[nhrp]\ninterfaces = { gre1 = 'dmvpn', gre2 = 'dmvpn2' }\n[policy]",
        )
        + "require_crl = true\ncrls = ['/etc/crls']\n[policy.hub]\nrequire_hub_role = true\nallow_ibgp = true\n"
        "[policy.interfaces.gre2]\ntunnel_networks = ['10.254.0.0/24']\n"
        "[[policy.peer]]\nidentity = 'psk1'\nprotocol_addresses = ['10.255.0.9']\nas_number = 64519\n"
        "[[policy.maintenance]]\naction = 'quarantine'\nserial = '2A'\n"
    )
    assert main(["lint-policy", "--config", str(file)]) == 0
    text = capsys.readouterr().out
    for row in (
        "^may join +with a hub's role",
        "^ON gre2 +HUB ",
        r"^protocol addresses in +10\.254\.0\.0/24 ",
        "or this node's own",
        "^CRL +required",
        r"^static peer +psk1 \(without certificate\): 10\.255\.0\.9, 64519, spoke$",
        "^maintenance +quarantine of serial 2a$",
    ):
        assert re.search(row, text, re.MULTILINE), row


def test_the_document_is_documented(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The policy's own form is not part of the schema."""
    _, result = lint(file, capsys, '[[policy.maintenance]]\naction = "deny"\nidentity = "*"')
    assert_documented("lint-policy/1", result, opaque={"policy"})
