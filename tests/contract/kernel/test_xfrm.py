"""IPsec SAs in a real kernel. An SA without keys needs no ESP there: the kernel reserves an SPI for it."""

import pytest

from contract.namespaces import command, in_network_namespace, needs
from dmvpn_agent.kernel.xfrm import IPPROTO_ESP, IPPROTO_GRE, XFRM_MODE_TRANSPORT
from dmvpn_agent.kernel.xfrm_socket import XfrmSocket

pytestmark = [pytest.mark.contract, needs("ip")]
PAIRS = {("192.0.2.1", "192.0.2.2"): "00000101", ("2001:db8::1", "2001:db8::2"): "00000102"}


def _reserve(pair: tuple[str, str]) -> None:
    ends, spi = f"src {pair[0]} dst {pair[1]}", f"0x{PAIRS[pair]}"
    command(*f"ip xfrm state allocspi {ends} proto esp mode transport reqid 7 min {spi} max {spi}".split())


@in_network_namespace
async def test_sas_are_listed_with_addresses_and_spi() -> None:
    """Of both IP versions."""
    for pair in PAIRS:
        _reserve(pair)
    listed = {(str(sa.source), str(sa.destination)): sa for sa in XfrmSocket().list()}
    assert {pair: sa.spi for pair, sa in listed.items()} == PAIRS
    for sa in listed.values():
        assert (sa.protocol, sa.mode, sa.reqid) == (IPPROTO_ESP, XFRM_MODE_TRANSPORT, 7)
        assert not sa.keyed
        assert sa.added_at > 0


@in_network_namespace
async def test_one_is_deleted_and_no_other() -> None:
    """A second deletion of the same is no error."""
    for pair in PAIRS:
        _reserve(pair)
    kernel = XfrmSocket()
    (victim,) = [sa for sa in kernel.list() if sa.source.version == 4]
    kernel.delete(victim)
    kernel.delete(victim)
    assert [sa.source.version for sa in kernel.list()] == [6]


@in_network_namespace
async def test_a_policy_between_two_hosts_is_deleted_and_no_other() -> None:
    """The wildcard policy, which requests SAs, stays."""
    hosts = "src 192.0.2.1/32 dst 192.0.2.2/32 proto gre dir out tmpl proto esp spi 0x101 reqid 1 mode transport"
    wildcard = "src 0.0.0.0/0 dst 0.0.0.0/0 proto gre dir out tmpl proto esp reqid 1 mode transport"
    for words in (hosts, wildcard):
        command("ip", "xfrm", "policy", "add", *words.split())
    kernel = XfrmSocket()
    (policy,) = kernel.list_policies()
    assert (str(policy.source), str(policy.destination), policy.protocol) == ("192.0.2.1", "192.0.2.2", IPPROTO_GRE)
    kernel.delete_policy(policy)
    kernel.delete_policy(policy)
    assert kernel.list_policies() == ()
    assert "src 0.0.0.0/0" in command("ip", "xfrm", "policy")
