"""A router's configuration: its proposals are swanctl's, and no text of a certificate gets out of its place."""

import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest

import bundles
from dmvpn_agent.setup.bundle import read_router_certificate
from dmvpn_agent.setup.ios import IkeProposal, ike_proposal, parse_interface, router_text, transform
from dmvpn_agent.setup.node import ESP_PROPOSALS, IKE_PROPOSALS, Hub
from dmvpn_agent.setup.refusal import Refused
from nodes import ANSWERS, node, spoke_bundle

NODE = node()


def test_every_ike_proposal_has_iosss_words() -> None:
    assert [ike_proposal(one) for one in IKE_PROPOSALS] == [
        IkeProposal("aes-gcm-256", "", "sha384", "20"),
        IkeProposal("aes-cbc-256", "sha384", "", "20"),
        IkeProposal("aes-cbc-256", "sha256", "", "19"),
    ]


def test_every_esp_proposal_has_iosss_words() -> None:
    found = [transform(one) for one in ESP_PROPOSALS]
    assert [(one.transform, one.pfs) for one in found] == [
        ("esp-gcm 256", "20"),
        ("esp-gcm 256", ""),
        ("esp-aes 256 esp-sha256-hmac", ""),
    ]


@pytest.mark.parametrize("style", ["dmvpn", "flexvpn"])
def test_a_router_has_the_values_of_its_certificate(style: str) -> None:
    text = router_text(NODE, spoke_bundle(), style, "GigabitEthernet1")
    assert "neighbor 10.255.0.1 remote-as external" in text
    assert "network 192.168.17.0 mask 255.255.255.0" in text
    assert "10.255.0.17" in text
    assert f"tunnel key {NODE.key}" in text
    assert "mode transport" in text
    assert not re.search(r"\{\{|\{%", text)


def test_the_style_decides_about_the_tunnel() -> None:
    dmvpn, flexvpn = (router_text(NODE, spoke_bundle(), style, "GigabitEthernet1") for style in ("dmvpn", "flexvpn"))
    assert "tunnel mode gre multipoint" in dmvpn
    assert "tunnel destination 203.0.113.1" in flexvpn


def test_a_hub_without_its_protocol_address_is_refused() -> None:
    """The router's own BGP neighbor is that address."""
    with pytest.raises(Refused) as info:
        router_text(replace(NODE, hubs=(Hub("hub.example.com"),)), spoke_bundle(), "dmvpn", "GigabitEthernet1")
    assert [one.what for one in info.value.refusals] == ["hubs"]


def test_a_certificate_without_a_key_is_enough_for_a_router() -> None:
    credentials = bundles.guide()
    read = read_router_certificate(credentials.certificate, None, datetime.now(UTC))
    assert read.as_numbers == (65017,)
    assert ANSWERS.hubs


@pytest.mark.parametrize("text", ["", "eth 0", "Gi1\nno shutdown", "1", "Gi1; reload"])
def test_an_interfaces_name_is_one_word(text: str) -> None:
    with pytest.raises(Refused):
        parse_interface(text)


@pytest.mark.parametrize("text", ["GigabitEthernet0/0/0", "Gi1", "Dialer1", "TenGigabitEthernet1/1/1.100"])
def test_interfaces_of_routers(text: str) -> None:
    assert parse_interface(text) == text


def test_a_subject_stays_in_its_comment() -> None:
    units = ("GRE=10.255.0.17", "AS=65017", "evil\nno crypto pki trustpoint DMVPN")
    bundle = read_router_certificate(bundles.guide(units).certificate, None, datetime.now(UTC))
    text = router_text(NODE, bundle, "dmvpn", "GigabitEthernet1")
    assert "\nno crypto" not in text
