"""A session with a charon of which only connections and certificates count."""

from collections.abc import AsyncIterator, Callable, Iterable

from dmvpn_agent.charon.session import CommandFailed, Read
from dmvpn_agent.charon.vici import Section


class Cache:
    """A session with charon; ``cache``: the certificates that it lists.

    ``loaded``: those that it still lists after a flush; ``returning``: what somebody sends after each of the next
    flushes, one each. ``ca_names``: the ``cacerts`` of its connection.
    """

    def __init__(self, *cache: bytes) -> None:
        self.cache = list(cache)
        self.loaded: list[bytes] = []
        self.returning: list[bytes] = []
        self.ca_names: list[bytes] = []
        self.refuses: set[str] = set()
        self.requests: list[tuple[str, Section]] = []
        self.method = b"public key"
        self.sas: list[Section] = []

    async def request(self, command: str, message: Section) -> Section:
        self.requests.append((command, message))
        if command in self.refuses:
            raise CommandFailed("no")
        if command == "flush-certs":
            self.cache = [*self.loaded, *self.returning[:1]]
            del self.returning[:1]
        return {"success": "yes"}

    async def stream(
        self, command: str, message: Section, event: str, read: Callable[[Section], Iterable[Read]]
    ) -> list[Read]:
        if command == "list-conns":
            return list(read({"dmvpn": {"remote-1": {"class": self.method, "cacerts": self.ca_names}}}))
        if command == "list-sas":
            return [one for section in self.sas for one in read({"dmvpn": section})]
        assert (command, event) == ("list-certs", "list-cert")
        return [one for item in self.cache for one in read({"data": item})]

    async def register(self, event: str) -> bool:
        return True

    async def events(self) -> AsyncIterator[tuple[str, Section]]:
        return
        yield

    @property
    def flushes(self) -> int:
        return sum(command == "flush-certs" for command, _ in self.requests)

    @property
    def ended(self) -> list[str]:
        return [str(message["ike-id"]) for command, message in self.requests if command == "terminate"]
