"""Reads all interfaces once, for the commands that change nothing."""

from dmvpn_agent.kernel import rtnetlink
from dmvpn_agent.kernel.events import LinkEvent
from dmvpn_agent.kernel.pyroute import load_pyroute2


async def read_links() -> dict[str, LinkEvent]:
    """Return the interfaces by name. Raises ``OSError``."""
    pyroute2 = await load_pyroute2()
    async with pyroute2.AsyncIPRoute() as netlink:
        events = [rtnetlink.read_event(message, {}) async for message in await netlink.link("dump")]
    return {event.name: event for event in events if isinstance(event, LinkEvent)}
