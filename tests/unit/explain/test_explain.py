"""``explain``, as an operator types it."""

import io
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates

from dmvpn_agent.cli.main import main
from documented import assert_documented
from factories import authority_pem, certificate, crl_pem, der, event, key

DATA = Path(__file__).parents[2] / "data" / "explain"
AT = ("--at", "2026-03-01T12:00", "--config", str(DATA / "agent.toml"))
SPOKE, IMPOSTOR, DMVPN_CA, BROKEN = "spoke.pem", "impostor.pem", "dmvpn-ca.der", "broken.hex"

Output = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def in_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """File names are printed as given, here without a path."""
    monkeypatch.chdir(DATA)


#: What `openssl genpkey` and `openssl ecparam -genkey` write.
KEY = (
    b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    b"-----BEGIN EC PRIVATE KEY-----\nAA==\n-----END EC PRIVATE KEY-----\n"
)


def pkcs12() -> bytes:
    """Return a PKCS #12 file, as dmvpn-ca writes one for each router."""
    return serialize_key_and_certificates(
        b"VPNc-1", key(), x509.load_der_x509_certificate(der()), None, BestAvailableEncryption(b"9D6JLGHlLmTG4bVR")
    )


def explain(capsys: Output, *arguments: str) -> tuple[int, str]:
    status = main(["explain", *arguments, *AT])
    return status, capsys.readouterr().out


def explain_json(capsys: Output, *arguments: str) -> tuple[int, Any]:
    status, text = explain(capsys, *arguments, "--json")
    return status, json.loads(text)["data"]


@pytest.mark.parametrize(
    ("arguments", "status"),
    [((SPOKE,), 0), ((IMPOSTOR, "--address", "10.255.0.9"), 1), ((DMVPN_CA,), 0), ((BROKEN,), 1)],
    ids=str,
)
def test_an_explanation_is_the_golden_file(arguments: tuple[str, ...], status: int, capsys: Output) -> None:
    """The golden files pin every word; cryptography's own text about broken DER is left out."""
    found, text = explain(capsys, *arguments)
    expected = DATA.joinpath(arguments[0]).with_suffix(".txt").read_text()
    assert re.sub(r"ParseError \{.*\}", "…", text) == expected
    assert found == status


def case(name: str, *arguments: str) -> list[str]:
    folder = DATA.parent / "cases" / name
    (certificate,), (config,) = folder.glob("*.pem"), folder.glob("*.toml")
    return ["explain", str(certificate), "--config", str(config), "--at", "2027-01-01T12:00", *arguments]


def test_ou_hubs_does_not_override_dmvpn_cas_false(capsys: Output) -> None:
    """The peer is a spoke with its own prefixes; the sentence gives its filter for each address family."""
    assert main(case("hubs-over-an-explicit-false")) == 0
    text = capsys.readouterr().out
    assert "judged as a spoke, by this hub" in text
    assert re.search(
        r"^  subject +role +OU +Hubs +no: another claim says that the peer is no hub$", text, re.MULTILINE
    )
    assert (
        "ACCEPTED: 10.255.8.1 is bound, and its peer is a spoke with AS 65008; its filter permits IPv4:"
        " 192.168.8.0/24 and its subnets up to /26; IPv6: 2001:db8:8::/48 and its subnets up to /64.\n"
    ) in text
    assert [line.strip() for line in text.splitlines() if " permit " in line] == [
        "ip prefix-list dmvpn-agent-10.255.8.1-in seq 5 permit 192.168.8.0/24 le 26",
        "ipv6 prefix-list dmvpn-agent-10.255.8.1-in6 seq 5 permit 2001:db8:8::/48 le 64",
    ]


def test_a_hubs_filter_is_shown_with_what_it_withholds(tmp_path: Path, capsys: Output) -> None:
    """It never permits everything while the policy forbids something."""
    certificate, config = tmp_path / "hub.der", tmp_path / "spoke.toml"
    certificate.write_bytes(der(("GRE=10.255.0.1", "AS=64512", "Hubs")))
    config.write_text(
        'role = "spoke"\n[policy]\ntunnel_networks = ["10.255.0.0/24"]\nca_certificates = []\n'
        'forbidden_networks = ["192.168.7.0/24"]\nmax_prefix_length = 24\n[bgp]\nenabled = true\nas_number = 65007\n'
    )
    at = ("--at", "2026-03-01T12:00", "--config", str(config))
    assert main(["explain", str(certificate), *at]) == 0
    text = capsys.readouterr().out
    assert (
        "its filter permits IPv4: 0.0.0.0/0 and its subnets up to /24, 10.255.0.0/24 and its subnets up to /32,"
        " but no default route, and nothing that overlaps 192.168.7.0/24; IPv6: nothing (bgp.ipv6 is false).\n"
    ) in text
    denials = [line.split(" deny ")[1] for line in text.splitlines() if " deny " in line]
    assert {"any", "192.168.7.0/24 le 32", "128.0.0.0/1", "192.168.6.0/23"} <= set(denials)
    assert "permit any" not in text


def test_json_contains_all_that_the_text_contains(capsys: Output) -> None:
    """It has the certificate, the resources, every check, the decision and the vtysh lines."""
    status, result = explain_json(capsys, SPOKE)
    assert (status, result["accepted"]) == (0, True)
    assert result["certificate"]["serial"] == "5b01"
    assert [(one["text"], one["counts"]) for one in result["resources"]] == [
        ("GRE=10.255.0.11", True), ("AS=65011", True), ("NET=192.168.1.0/24", True), ("NET=192.168.101.0/24", True)
    ]  # fmt: skip
    (binding,) = result["bindings"]
    assert (binding["decision"], binding["kind"], binding["nbma_address"]) == ("accept", "spoke", None)
    assert binding["peer"]["prefixes"] == ["192.168.1.0/24", "192.168.101.0/24"]
    assert all(check["passed"] for check in binding["checks"])
    assert "neighbor 10.255.0.11 remote-as 65011" in binding["vtysh"]
    text = explain(capsys, SPOKE)[1]
    assert all(f"    {line}\n" in text for line in binding["vtysh"])
    assert all(check["expected"] in text for check in binding["checks"])
    assert binding["sentence"] in text


def test_a_denial_names_remedies(capsys: Output) -> None:
    """Every failed rule has remedies, and there are no vtysh lines."""
    status, result = explain_json(capsys, IMPOSTOR, "--address", "10.255.0.9")
    (binding,) = result["bindings"]
    assert (status, binding["reason"], binding["vtysh"]) == (1, "protocol_address_mismatch", [])
    assert list(binding["would_have_to_change"]) == ["protocol_address_mismatch"]
    assert binding["would_have_to_change"]["protocol_address_mismatch"]


def test_without_an_address_each_named_one_is_judged(capsys: Output, tmp_path: Path) -> None:
    """The exit status is 1 unless all are accepted."""
    file = tmp_path / "two.der"
    file.write_bytes(der(("GRE=10.255.0.2", "GRE=10.9.0.2", "AS=64512")))
    status, text = explain(capsys, str(file))
    assert status == 1
    assert "MAY 10.255.0.2 BE BOUND?" in text
    assert "MAY 10.9.0.2 BE BOUND?" in text
    assert "2 addresses: 1 accepted, 1 denied." in text


def test_of_several_accepted_addresses_the_one_with_the_neighbor_is_named(capsys: Output, tmp_path: Path) -> None:
    """A peer with several addresses has one neighbor."""
    file = tmp_path / "two.der"
    file.write_bytes(der(("GRE=10.255.0.7", "GRE=10.255.0.2", "AS=64512")))
    _, text = explain(capsys, str(file))
    assert "2 addresses: 2 accepted, 0 denied.\n" in text
    assert "If all of them are bound at one NBMA address, the peer has one neighbor: 10.255.0.2.\n" in text


def test_a_certificate_without_address_is_judged_without_one(capsys: Output, tmp_path: Path) -> None:
    """The explanation says so and shows no rule about the requested address."""
    file = tmp_path / "none.der"
    file.write_bytes(der(("AS=64512", "NET=10.0.0.0/8")))
    status, text = explain(capsys, str(file))
    assert status == 1
    assert "No protocol address is named, and none was given" in text
    assert "protocol_address_mismatch" not in text
    assert re.search(r"FAIL  no_protocol_address +OU GRE +absent", text)
    assert re.search(r"FAIL  prefix_not_allowed +OU NET +NET=10.0.0.0/8", text)


@pytest.mark.parametrize(
    ("content", "form"),
    [
        (der().hex().encode(), "hexadecimal"),
        (der().hex().upper().encode() + b"\n", "hexadecimal"),
        (der().hex(":").replace("0:", "0:\n", 7).encode(), "hexadecimal"),
        (der(), "DER"),
        (event(), "an event's remote_cert"),
        (b"Certificate:\n  Data: ...\n" + DATA.joinpath(SPOKE).read_bytes(), "PEM"),
        (DATA.joinpath(SPOKE).read_bytes() + DATA.joinpath(IMPOSTOR).read_bytes(), "PEM (the first of several)"),
        (KEY + DATA.joinpath(SPOKE).read_bytes(), "PEM"),
        (DATA.joinpath(SPOKE).read_bytes() + KEY, "PEM"),
    ],
    ids=["hex", "capitals", "colons", "DER", "event", "text and PEM", "chain", "key first", "key last"],
)  # fmt: skip
def test_certificates_come_in_many_forms(content: bytes, form: str, capsys: Output, tmp_path: Path) -> None:
    """PEM, DER, hexadecimal and nhrpd's event are recognised."""
    file = tmp_path / "certificate"
    file.write_bytes(content)
    status, result = explain_json(capsys, str(file))
    assert (status, result["read_from"]) == (0, f"{form}, {file}")


def test_a_certificate_can_be_typed(capsys: Output) -> None:
    """Hexadecimal, as in nhrpd's event, is accepted as an argument."""
    assert explain_json(capsys, der().hex())[1]["read_from"] == "hexadecimal, the command line"


def test_a_certificate_can_be_piped(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    """``-`` reads standard input."""
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(der())))
    assert explain_json(capsys, "-")[1]["read_from"] == "DER, standard input"


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"", "empty"), (b"hello", "no certificate in PEM"), (b"\x00" * (1 << 20) + b"x", "longer than"),
     (b"-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n", "contains a private key, and no"),
     (b"-----BEGIN CERTIFICATE REQUEST-----\nAA==\n-----END CERTIFICATE REQUEST-----\n", "not CERTIFICATE"),
     (pkcs12(), "a PKCS #12 file (.p12, .pfx), which is encrypted; take the certificate out of it: openssl pkcs12"),
     (b"\x30\x80\x02\x01\x03\x30\x80", "a PKCS #12 file")],
)  # fmt: skip
def test_input_that_is_no_certificate_exits_2(content: bytes, why: str, capsys: Output, tmp_path: Path) -> None:
    """The message names what was found, and nothing is judged."""
    file = tmp_path / "thing"
    file.write_bytes(content)
    assert main(["explain", str(file), *AT]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"dmvpn-agent: {file}: ")
    assert why in captured.err


@pytest.mark.parametrize("word", ["no-such-file", "30" * 5000 + "x"])
def test_a_missing_file_exits_2(word: str, capsys: Output) -> None:
    """The message says what is expected."""
    assert main(["explain", word, *AT]) == 2
    assert "expected a file in PEM, DER or hexadecimal" in capsys.readouterr().err


def test_a_bad_configuration_exits_78(capsys: Output, tmp_path: Path) -> None:
    """Nothing is judged."""
    file = tmp_path / "agent.toml"
    file.write_text('role = "router"\n')
    assert main(["explain", SPOKE, "--config", str(file)]) == 78


def test_the_time_can_be_given(capsys: Output) -> None:
    """It is in ISO 8601, with or without offset."""
    assert explain_json(capsys, SPOKE)[1]["at"] == "2026-03-01T12:00:00+00:00"
    assert main(["explain", SPOKE, "--config", "agent.toml", "--at", "2036-01-01T02:00:01+02:00"]) == 1
    assert "DENIED (certificate_expired)" in capsys.readouterr().out


def test_the_identity_of_the_ike_sa_is_compared(capsys: Output) -> None:
    """The certificate's own identity confirms it; another does not."""
    subject = (
        "O=DMVPN lab, OU=GRE=10.255.0.11, OU=AS=65011, OU=NET=192.168.1.0/24, OU=NET=192.168.101.0/24, CN=spoke1"
    )
    assert explain(capsys, SPOKE, "--identity", subject, "--nbma", "203.0.113.11")[0] == 0
    status, text = explain(capsys, SPOKE, "--identity", "CN=spoke2", "--nbma", "203.0.113.11")
    assert status == 1
    assert "DENIED (certificate_unconfirmed)" in text


def test_a_peer_without_certificate_is_judged_by_the_static_table(capsys: Output, tmp_path: Path) -> None:
    """``none`` needs the identity of the pre-shared key; without one the peer is denied."""
    file = tmp_path / "agent.toml"
    file.write_text(
        DATA.joinpath("agent.toml").read_text()
        + '[[policy.peer]]\nidentity = "spoke*.example.net"\nprotocol_addresses = ["10.255.0.8"]\nas_number = 65008\n'
    )
    arguments = ["explain", "none", "--config", str(file), "--identity", "spoke8.example.net"]
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert re.search("static +protocol address +policy.peer +10.255.0.8 +yes", text)
    assert "ACCEPTED: 10.255.0.8 is bound" in text
    assert main(arguments[:-2]) == 1
    assert "DENIED (no_certificate)" in capsys.readouterr().out


def test_problems_with_ca_and_crl_files_are_reported(capsys: Output, tmp_path: Path) -> None:
    """They go to standard error and into the JSON, and the certificate is judged."""
    file = tmp_path / "agent.toml"
    missing = tmp_path / "missing.crl"
    file.write_text(DATA.joinpath("agent.toml").read_text().replace("[bgp]", f'crls = ["{missing}"]\n[bgp]'))
    assert main(["explain", SPOKE, "--json", "--at", "2026-03-01T12:00", "--config", str(file)]) == 0
    captured = capsys.readouterr()
    assert captured.err == f"dmvpn-agent: {missing}: no such file or directory\n"
    assert json.loads(captured.out)["data"]["trust"]["problems"] == [f"{missing}: no such file or directory"]


def test_a_certificate_that_nhrpd_cannot_hold_is_judged_like_any_other(capsys: Output, tmp_path: Path) -> None:
    """The agent gets such a certificate from charon or the bridge."""
    file = tmp_path / "large.der"
    file.write_bytes(der(padding=2000))
    status, result = explain_json(capsys, str(file))
    assert (status, result["bindings"][0]["decision"]) == (0, "accept")


def test_a_crl_revokes(capsys: Output, tmp_path: Path) -> None:
    """The CA certificates and CRLs of the configuration are used, and then nothing about them is left unchecked."""
    spoke, config = tmp_path / "spoke.der", tmp_path / "agent.toml"
    spoke.write_bytes(der())
    (tmp_path / "ca.pem").write_bytes(authority_pem())
    (tmp_path / "lab.crl").write_bytes(crl_pem(certificate().serial))
    config.write_text(
        DATA.joinpath("agent.toml")
        .read_text()
        .replace("ca_certificates = []", f'ca_certificates = ["{tmp_path}/ca.pem"]\ncrls = ["{tmp_path}/lab.crl"]')
    )
    assert main(["explain", str(spoke), "--at", "2026-03-02", "--config", str(config)]) == 1
    text = capsys.readouterr().out
    assert "DENIED (certificate_revoked)" in text
    assert "charon verifies it before nhrpd asks" not in text
    assert "no CRL of its issuer is known" not in text


def test_ous_that_look_like_resources_are_shown(tmp_path: Path, capsys: Output) -> None:
    """The difference is visible: quotes show white space, escapes show other characters."""
    file = tmp_path / "odd.der"
    units = (
        "GRE=10.255.0.2 ",
        "net=192.168.1.0/24",
        " NET=192.168.2.0/24",
        "\uff27RE=10.255.0.3",
        "hubs",
        "AS: 65001",
        "Asia",
    )
    file.write_bytes(der((*units, "AS=65001")))
    assert main(["explain", str(file), *AT]) == 1
    text = capsys.readouterr().out
    for line in (
        r"subject +protocol address +OU GRE +\"GRE=10\.255\.0\.2 \" +malformed: denies the peer",
        r"subject +nothing +OU +\"net=192\.168\.1\.0/24\" +no: looks like NET=",
        r"subject +nothing +OU +\" NET=192\.168\.2\.0/24\" +no: looks like NET=",
        r"subject +nothing +OU +\"\\uff27RE=10\.255\.0\.3\" +no: looks like GRE=",
        r"subject +nothing +OU +\"hubs\" +no: looks like Hubs",
        r"subject +nothing +OU +\"AS: 65001\" +no: looks like AS=",
    ):
        assert re.search(line, text), line
    assert 'Asia"' not in text


def test_the_document_is_documented(capsys: Output) -> None:
    """Of an accepted and a denied peer, and of a certificate that cannot be read."""
    asked = (SPOKE,), (IMPOSTOR, "--address", "10.255.0.9"), (BROKEN,)
    documents = [explain_json(capsys, *arguments)[1] for arguments in asked]
    assert_documented("explain/1", *documents, opaque={"bindings[].would_have_to_change"})
