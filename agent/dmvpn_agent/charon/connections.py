"""How charon authenticates the peers of its connections, and which of its IKE_SAs came about in that way.

charon lists an IKE_SA with the name of its connection, and not with the method that its peer used. A connection can
be loaded again with another method while its former IKE_SAs live on under the same name. So the method of an IKE_SA
is what its connection had before the IKE_SA began and still has after it was established. charon has no event for a
connection that is loaded: the connections are read with every new IKE_SA, and at intervals.
"""

import asyncio
from collections.abc import Iterable, Mapping, Set
from types import MappingProxyType

import structlog

from dmvpn_agent.charon.commands import list_connections, list_sas
from dmvpn_agent.charon.sa import Authentication, IkeSa
from dmvpn_agent.charon.session import CharonSession, CommandFailed

log = structlog.get_logger()


class Connections:
    """The methods of charon's connections by name, and of its IKE_SAs by SPIs.

    ``former``: what they were to the program before this one, with no IKE_SA by another method. ``trusts_first``: an
    IKE_SA that is there at the first reading counts as authenticated by what its connection asks for then. Otherwise
    nobody knows how it was.
    """

    def __init__(
        self, former: Mapping[str, Authentication] = MappingProxyType({}), *, trusts_first: bool = False
    ) -> None:
        self._former = former
        self._trusts_first = trusts_first
        self._methods: Mapping[str, Authentication] | None = None
        self._known: dict[str, Authentication] = {}
        #: The connections that changed while an IKE_SA was there already, or began.
        self._doubtful: dict[str, Set[str]] = {}
        self._absent: Set[str] = frozenset()
        self._looking = asyncio.Lock()

    def begin(self) -> None:
        """Note that the session with charon is a new one: what its connections were meanwhile, nobody saw."""
        self._methods = None

    def now(self, name: str) -> Authentication:
        """Return how a connection authenticates its peers now; one that is not known does it by no method."""
        return (self._methods or {}).get(name, Authentication.OTHER)

    def of(self, sa: IkeSa) -> Authentication:
        """Return how the peer of an IKE_SA was authenticated; ``OTHER`` where that is not known."""
        return self._known.get(sa.spis, Authentication.OTHER)

    def note(self, sas: Iterable[IkeSa], method: Authentication) -> None:
        """Note how the peers of IKE_SAs were authenticated, from what was known before."""
        self._known |= {sa.spis: method for sa in sas}

    def pure(self, sas: Iterable[IkeSa]) -> frozenset[str]:
        """Return the connections by public key of which none of these IKE_SAs is by another method, or may become."""
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
        """Settle the methods of these IKE_SAs; with ``read`` the connections are read in any case.

        Raises ``CharonLost``.
        """
        sas = tuple(sas)
        async with self._looking:
            new = [sa for sa in sas if sa.established and sa.spis not in self._known]
            if not new and not read and self._methods is not None:
                return
            first, methods = self._methods is None, await _methods(session)
            former = self._former if self._methods is None else self._methods
            self._former = {}
            changed = {name for name in methods.keys() | former.keys() if methods.get(name) != former.get(name)}
            if changed and not (first and self._trusts_first):
                for sa in (*new, *await list_sas(session)):
                    if sa.spis not in self._known:
                        self._doubtful[sa.spis] = self._doubtful.get(sa.spis, frozenset()) | changed
            if changed and not first:
                log.info("connections_changed", connections=sorted(changed))
            self._methods = methods
            for sa in new:
                doubtful = sa.name in self._doubtful.get(sa.spis, ())
                self._known[sa.spis] = Authentication.OTHER if doubtful else self.now(sa.name)

    def move(self, old: str, new: str) -> None:
        """Have the IKE_SA ``new`` be authenticated as ``old`` was, which it replaced: a rekeying proves nothing."""
        if old in self._known:
            self._known[new] = self._known[old]
        elif old in self._doubtful:
            self._doubtful[new] = self._doubtful[old]

    def prune(self, sas: Iterable[IkeSa]) -> None:
        """Forget all IKE_SAs that were missing twice; the list may be older than the newest of them."""
        absent = (self._known.keys() | self._doubtful.keys()) - {sa.spis for sa in sas}
        for spis in absent & self._absent:
            self._known.pop(spis, None)
            self._doubtful.pop(spis, None)
        self._absent = absent


async def _methods(session: CharonSession) -> dict[str, Authentication]:
    """Read the connections; of two with one name, neither is to be told from the other. Raises ``CharonLost``."""
    try:
        listed = await list_connections(session)
    except CommandFailed as error:
        log.warning("connections_unknown", why=str(error), consequence="no peer counts as authenticated")
        return {}
    methods: dict[str, Authentication] = {}
    for one in listed:
        same = methods.get(one.name, one.authentication) is one.authentication
        methods[one.name] = one.authentication if same else Authentication.OTHER
    return methods
