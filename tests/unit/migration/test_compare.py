"""``explain --compare``: the former script's decisions beside the agent's."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from dmvpn_agent.cli.main import main
from documented import assert_documented, documented, paths
from factories import der
from placeholders import render

DATA = Path(__file__).parents[2] / "data" / "explain"

Output = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "certificates"
    path.mkdir()
    return path


def compare(folder: Path, capsys: Output, *options: str) -> tuple[int, str]:
    status = main(["explain", "--compare", str(folder), "--at", "2026-03-01T12:00",
                   "--config", str(DATA / "agent.toml"), *options])  # fmt: skip
    return status, capsys.readouterr().out


def compare_json(folder: Path, capsys: Output, *options: str) -> tuple[int, Any]:
    status, text = compare(folder, capsys, "--json", *options)
    return status, json.loads(text)["data"]


def differences(result: Any) -> dict[tuple[str, str | None], str | None]:
    return {(row["file"], row["protocol_address"]): row["difference"] for row in result["certificates"]}


def test_the_hole_of_the_former_script_is_shown(folder: Path, capsys: Output) -> None:
    """With GRE=10.255.0.99 the script let the peer register 10.255.0.9; the agent does not."""
    shutil.copy(DATA / "impostor.pem", folder)
    status, text = compare(folder, capsys)
    assert status == 1
    assert "impostor.pem  10.255.0.99  accept  accept\n" in text
    assert "impostor.pem  10.255.0.9   accept  deny    accepted before, denied now\n" in text
    assert "    before: GRE=10.255.0.99 matches ^GRE=10.255.0.9\n" in text
    assert "    now: protocol_address_mismatch: OU GRE is GRE=10.255.0.99, expected" in text
    assert text.endswith("2 judged: 1 accepted before, denied now, 1 same.\n")


def test_each_difference_is_named(folder: Path, capsys: Output) -> None:
    """A row is newly denied, newly accepted, has other resources, or is the same; other files are skipped."""
    for name, units in {
        "same": ("GRE=10.255.0.42", "AS=64512", "NET=192.168.2.0/24"),
        "outside": ("GRE=10.255.0.43", "AS=64512", "NET=10.0.0.0/8"),
        "no-as": ("GRE=10.255.0.44", "NET=192.168.4.0/24"),
        "long": ("GRE=10.255.0.45", "AS=64515", "NET=192.168.5.0/26"),
        "empty": ("AS=64516",),
    }.items():
        (folder / f"{name}.der").write_bytes(der(units))
    shutil.copy(DATA / "dmvpn-ca.der", folder)
    shutil.copy(DATA / "broken.hex", folder)
    (folder / "ca.key").write_text("secret")
    (folder / ".hidden").write_text("hidden")
    status, result = compare_json(folder, capsys)
    found = differences(result)
    assert status == 1
    assert {key: what for key, what in found.items() if key[1] not in {"10.255.0.4"}} == {
        ("broken.hex", None): None,
        ("dmvpn-ca.der", "10.255.0.7"): "denied before, accepted now",
        ("empty.der", None): None,
        ("long.der", "10.255.0.45"): "other resources",
        ("no-as.der", "10.255.0.44"): "accepted before, denied now",
        ("outside.der", "10.255.0.43"): "accepted before, denied now",
        ("same.der", "10.255.0.42"): None,
    }
    reasons = {row["file"]: row["why"] for row in result["certificates"] if row["difference"] == "other resources"}
    assert reasons == {
        "long.der": [
            "only now: 192.168.5.0/26",
            "before: NET=192.168.5.0/26: vtysh refuses it, as `le 26` is not longer",
        ]
    }
    assert result["skipped"] == [f"{folder / 'ca.key'}: no certificate in PEM, DER or hexadecimal"]


def test_filters_that_were_shared_are_named(folder: Path, capsys: Output) -> None:
    """Peers with one AS number shared a filter, because the guide's script names filters by AS number."""
    for number in (2, 3):
        units = (f"GRE=10.255.0.{number}", "AS=64512", f"NET=192.168.{number}.0/24")
        (folder / f"spoke{number}.der").write_bytes(der(units))
    text = compare(folder, capsys)[1]
    assert "  net-64512-in of spoke2.der, spoke3.der: each could announce the prefixes of all of them\n" in text


def test_the_status_is_0_if_nothing_differs(folder: Path, capsys: Output) -> None:
    """Such a network can be migrated as it is."""
    (folder / "spoke.der").write_bytes(der())
    status, text = compare(folder, capsys)
    assert status == 0
    assert text.endswith("1 judged: 1 same.\n")


def test_only_the_agent_gets_a_certificate_that_nhrpd_cannot_hold(folder: Path, capsys: Output) -> None:
    """Of 2048 bytes or more nhrpd gives a script nothing; the agent has the IKE_SA's certificate."""
    (folder / "large.der").write_bytes(der(padding=2000))
    status, result = compare_json(folder, capsys)
    (row,) = result["certificates"]
    assert (status, row["before"]["decision"], row["now"]["decision"]) == (1, "deny", "accept")


def test_script_selects_the_other_script(folder: Path, capsys: Output) -> None:
    """dmvpn-tools skips ranges of addresses, and fails on the guide's certificates."""
    shutil.copy(DATA / "dmvpn-ca.der", folder)
    shutil.copy(DATA / "spoke.pem", folder)
    status, result = compare_json(folder, capsys, "--script", "dmvpn-tools")
    assert (status, result["script"]) == (1, "dmvpn-tools")
    assert differences(result) == {
        ("dmvpn-ca.der", "10.255.0.7"): "other resources",
        ("spoke.pem", "10.255.0.11"): "denied before, accepted now",
    }


def test_a_missing_folder_exits_2(tmp_path: Path, capsys: Output) -> None:
    """The message names the folder and what was expected."""
    arguments = ["explain", "--compare", str(tmp_path / "x"), "--config", str(DATA / "agent.toml")]
    assert main(arguments) == 2
    result = f"dmvpn-agent: {tmp_path / 'x'}: No such file or directory; expected a folder with certificates\n"
    assert capsys.readouterr().err == result


def test_a_folder_or_a_certificate_is_needed(capsys: Output) -> None:
    """A folder and a certificate exclude each other."""
    for arguments in ([], ["x.pem", "--compare", "y"]):
        assert main(["explain", *arguments]) == 2


CHECKOUT = Path(__file__).parents[3]


@pytest.fixture
def dmvpn_ca(tmp_path: Path) -> Path:
    """The shipped configuration of a hub in a dmvpn-ca network."""
    values = {
        "TUNNEL_NETWORK": '10.255.0.0/16", "2001:db8::/96',
        "ALLOWED_NETWORK": '192.168.0.0/16", "2001:db8::/32',
    }
    text = render((CHECKOUT / "deploy/agent.dmvpn-ca.hub.toml").read_text(), {**values, "AS_NUMBER": 65000})
    cas = CHECKOUT / "tests/data/cases/dmvpn-ca/x509ca"
    file = tmp_path / "agent.toml"
    file.write_text(text.replace("[policy]\n", f'[policy]\nca_certificates = ["{cas}"]\n'))
    return file


def compare_dmvpn_ca(config: Path, capsys: Output) -> tuple[int, Any]:
    status = main(["explain", "--compare", str(CHECKOUT / "tests/data/cases/dmvpn-ca"), "--at", "2026-12-01T12:00",
                   "--config", str(config), "--script", "dmvpn-tools", "--json"])  # fmt: skip
    return status, json.loads(capsys.readouterr().out)["data"]


def test_a_dmvpn_ca_network_is_the_same_before_and_now(dmvpn_ca: Path, capsys: Output) -> None:
    """Two routers of a site share its prefixes; hub3 has an AS number of its own, and differs."""
    status, result = compare_dmvpn_ca(dmvpn_ca, capsys)
    found = differences(result)
    assert found.pop(("hub3.pem", "10.255.0.3")) == "other resources"  # its blocks lack the tunnel network
    assert set(found.values()) == {None}
    assert result["sites"] == ["192.168.1.0/24, 2001:db8:1::/48: fin1.pem, fin2.pem"]
    assert status == 1


def test_conflicting_peers_are_named(dmvpn_ca: Path, capsys: Output) -> None:
    """The script accepted both. Without on_conflict = "share" the agent accepts one at a time."""
    dmvpn_ca.write_text(dmvpn_ca.read_text().replace('on_conflict = "share"', ""))
    status, result = compare_dmvpn_ca(dmvpn_ca, capsys)
    rows = {row["file"]: row for row in result["certificates"] if row["protocol_address"] == "10.255.1.2"}
    assert (status, result["sites"]) == (1, [])
    assert rows["fin2.pem"]["difference"] == "accepted before, one of several now"
    assert rows["fin2.pem"]["why"] == [
        "now: fin1.pem has the same address or prefixes, and one is accepted at a time (policy.on_conflict)"
    ]
    assert differences(result)["fin1.pem", "10.255.1.1"] is None


def test_the_document_is_documented(folder: Path, capsys: Output) -> None:
    """What the agent decides has the keys that explain's document has."""
    shutil.copy(DATA / "impostor.pem", folder)
    _, result = compare_json(folder, capsys)
    assert_documented("compare/1", result, opaque={"certificates[].now"})
    known = {path.removeprefix("bindings[].") for path in documented("explain/1")}
    assert paths([row["now"] for row in result["certificates"]]) <= {f"[].{path}" for path in known}
