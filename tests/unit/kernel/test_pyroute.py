"""pyroute2 with the attributes that the agent needs, in every version."""

import pytest
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg

from dmvpn_agent.kernel.pyroute import load_pyroute2


@pytest.mark.parametrize(("message", "name", "number"), [(ndmsg, "NDA_PROTOCOL", 12), (ifaddrmsg, "IFA_PROTO", 11)])
async def test_an_attribute_has_the_kernels_number(message: type, name: str, number: int) -> None:
    """As in linux/neighbour.h and linux/if_addr.h; its place in pyroute2's list is its number."""
    await load_pyroute2()
    await load_pyroute2()
    assert [attribute[0] for attribute in message.nla_map].index(name) == number  # type: ignore[attr-defined]
