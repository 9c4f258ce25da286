"""How charon authenticates the peers of its connections, and how it authenticated the peer of each IKE_SA.

charon lists an IKE_SA with the name of its connection, but without the method by which its peer authenticated. A
connection can be loaded again with another method while its IKE_SAs stay under the same name. The method of an IKE_SA
is therefore known only if its connection had the same method, and the same CAs (``cacerts``), before the IKE_SA
began and after it was established.
charon raises no event when a connection is loaded: connections are listed with each new IKE_SA and at intervals.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Set
from types import MappingProxyType

import structlog

from dmvpn_agent.charon.commands import list_connections, list_sas
from dmvpn_agent.charon.sa import Authentication, IkeSa
from dmvpn_agent.charon.sa_reader import Connection
from dmvpn_agent.charon.session import CharonSession, CommandFailed

log = structlog.get_logger()


class Connections:
    """The methods of charon's connections by name, and of its IKE_SAs by SPIs.

    ``former``: the methods as the program before this one knew them, of connections without an IKE_SA by another
    method. ``trusts_first``: an IKE_SA in the first list counts as authenticated by its connection's present method;
    otherwise its method is unknown.
    """

    def __init__(
        self, former: Mapping[str, Authentication] = MappingProxyType({}), *, trusts_first: bool = False
    ) -> None:
        self._former = former
        self._trusts_first = trusts_first
        self._methods: Mapping[str, Authentication] | None = None
        self._ca_names: Mapping[str, tuple[frozenset[str], ...]] = {}
        self._known: dict[str, Authentication] = {}
        #: By SPIs: the connections whose method or CAs changed while the IKE_SA existed or was being set up.
        self._doubtful: dict[str, Set[str]] = {}
        self._absent: Set[str] = frozenset()
        #: Grows with each change of a connection's method within a session.
        self.version = 0
        self._updating = asyncio.Lock()

    def begin(self) -> None:
        """Note that the session with charon is new: connections may have been loaded in between."""
        self._methods = None

    def __contains__(self, name: str) -> bool:
        """Tell whether charon had this connection when they were read last."""
        return name in (self._methods or {})

    def now(self, name: str) -> Authentication:
        """Return the present method of a connection; ``OTHER`` if charon does not have it."""
        return (self._methods or {}).get(name, Authentication.OTHER)

    def ca_names(self, name: str) -> tuple[frozenset[str], ...]:
        """Return the present ``ca_names`` of a connection (``sa_reader.Connection``)."""
        return self._ca_names.get(name, ())

    def of(self, sa: IkeSa) -> Authentication:
        """Return how the peer of an IKE_SA authenticated; ``OTHER`` if that is not known."""
        return self._known.get(sa.spis, Authentication.OTHER)

    async def doubt(self, session: CharonSession, takes: Callable[[str], bool]) -> None:
        """Note that some connections take other certificates now than when charon's present IKE_SAs began.

        ``takes`` tells whether a connection, by its name, is one of them. Raises ``CharonLost``.
        """
        changed = frozenset(filter(takes, self._methods or {}))
        for sa in await list_sas(session) if changed else ():
            if sa.spis not in self._known:
                self._doubtful[sa.spis] = self._doubtful.get(sa.spis, frozenset()) | changed

    def note(self, sas: Iterable[IkeSa], method: Authentication) -> None:
        """Set how the peers of IKE_SAs authenticated, as known before this session."""
        self._known |= {sa.spis: method for sa in sas}

    def pure(self, sas: Iterable[IkeSa]) -> frozenset[str]:
        """Return the connections by public key all of whose IKE_SAs are, or will be, known to be by public key."""
        methods = (self._methods or {}).items()
        impure = {
            sa.name
            for sa in sas
            if self._known.get(sa.spis, Authentication.PUBLIC_KEY) is not Authentication.PUBLIC_KEY
            or (sa.established and sa.spis not in self._known)
            or sa.name in self._doubtful.get(sa.spis, ())
        }
        return frozenset(name for name, by in methods if by is Authentication.PUBLIC_KEY) - impure

    async def update(self, session: CharonSession, sas: Iterable[IkeSa], *, read: bool = False) -> None:
        """Determine the methods of these IKE_SAs; ``read``: list the connections even if no IKE_SA is new.

        Raises ``CharonLost``.
        """
        sas = tuple(sas)
        async with self._updating:
            new = [sa for sa in sas if sa.established and sa.spis not in self._known]
            if not new and not read and self._methods is not None:
                return
            first, listed = self._methods is None, await _listed(session)
            methods, ca_names = _methods(listed), _all_ca_names(listed)
            former = self._former if self._methods is None else self._methods
            self._former = {}
            changed = {name for name in methods.keys() | former.keys() if methods.get(name) != former.get(name)}
            if not first:
                changed |= {name for name, cas in ca_names.items() if cas != self._ca_names.get(name, cas)}
            if changed and not (first and self._trusts_first):
                for sa in (*new, *await list_sas(session)):
                    if sa.spis not in self._known:
                        self._doubtful[sa.spis] = self._doubtful.get(sa.spis, frozenset()) | changed
            if changed and not first:
                log.info("connections_changed", connections=sorted(changed))
            self.version += not first and methods != self._methods
            self._methods, self._ca_names = methods, ca_names
            for sa in new:
                doubtful = sa.name in self._doubtful.get(sa.spis, ())
                self._known[sa.spis] = Authentication.OTHER if doubtful else self.now(sa.name)

    def move(self, old: str, new: str) -> None:
        """Give the IKE_SA ``new`` the method of ``old``, which it replaced: a rekeying does not authenticate."""
        if old in self._known:
            self._known[new] = self._known[old]
        elif old in self._doubtful:
            self._doubtful[new] = self._doubtful[old]

    def prune(self, sas: Iterable[IkeSa]) -> None:
        """Forget IKE_SAs that two lists in a row lack; one list may be older than the newest IKE_SA."""
        absent = (self._known.keys() | self._doubtful.keys()) - {sa.spis for sa in sas}
        for spis in absent & self._absent:
            self._known.pop(spis, None)
            self._doubtful.pop(spis, None)
        self._absent = absent


async def _listed(session: CharonSession) -> list[Connection]:
    """Return charon's connections; none if it refuses. Raises ``CharonLost``."""
    try:
        return await list_connections(session)
    except CommandFailed as error:
        log.warning("connections_unknown", why=str(error), consequence="no peer counts as authenticated")
        return []


def _methods(listed: Iterable[Connection]) -> dict[str, Authentication]:
    """Return the method of each connection; ``OTHER`` if two of one name differ."""
    methods: dict[str, Authentication] = {}
    for one in listed:
        same = methods.get(one.name, one.authentication) is one.authentication
        methods[one.name] = one.authentication if same else Authentication.OTHER
    return methods


def _all_ca_names(listed: Iterable[Connection]) -> dict[str, tuple[frozenset[str], ...]]:
    """Return the CAs of each connection's rounds; of two connections of one name, those of both."""
    names: dict[str, tuple[frozenset[str], ...]] = {}
    for one in listed:
        names[one.name] = names.get(one.name, ()) + (one.ca_names or (frozenset(),))
    return names
