"""The problems that the operator's part of FRR's BGP configuration causes for the agent's neighbors.

They come in the three kinds of docs/bgp.md: ``write_problems`` keep the agent from writing a neighbor,
``filter_problems`` weaken the filters that it writes, ``session_problems`` keep sessions down or empty.
"""

from collections.abc import Collection, Iterable
from dataclasses import replace

from dmvpn_agent.addresses import Address, Network
from dmvpn_agent.bgp.filter_problems import filter_problems
from dmvpn_agent.bgp.neighbors import Desired, Observed, owns_neighbor
from dmvpn_agent.bgp.plan import is_ours
from dmvpn_agent.bgp.problem import BgpProblem
from dmvpn_agent.bgp.session_problems import session_problems
from dmvpn_agent.bgp.settings import BgpSettings
from dmvpn_agent.bgp.write_problems import instance_problem, write_problems


def bgp_problems(
    observed: Observed,
    settings: BgpSettings,
    wanted: Desired,
    *,
    established: Collection[Address] = (),
    dynamic: Collection[Address] = (),
    tunnels: Collection[Network] = (),
) -> tuple[BgpProblem, ...]:
    """Return the problems of the operator's part of FRR's configuration for the desired neighbors.

    ``established``: neighbors whose session is up. ``dynamic``: sessions accepted by a ``bgp listen range``.
    ``tunnels``: the tunnel networks, if known.
    """
    if (problem := instance_problem(observed, settings)) is not None:
        return (problem,)
    up = frozenset(address for address in established if address in observed.neighbors)
    return (
        *write_problems(observed, settings, wanted, dynamic, tunnels),
        *filter_problems(observed, settings, wanted),
        *session_problems(observed, settings, wanted, up),
    )


def without_blocked(wanted: Desired, observed: Observed, problems: Iterable[BgpProblem]) -> Desired:
    """Return what the agent can write of the desired state: blocked neighbors stay as they are in FRR.

    A neighbor whose AS number bgpd would not check is removed instead. Filters are always kept up to date.
    """
    blocking = [problem for problem in problems if problem.blocks]
    if not blocking:
        return wanted
    neighbors = dict(wanted.neighbors)
    for problem in blocking:
        for address in problem.blocks & neighbors.keys():
            found = observed.neighbors.get(address)
            if found is not None and not is_ours(found, wanted.neighbors[address], observed):
                continue  # an operator's neighbor: the plan names it and leaves it alone
            if found is not None and owns_neighbor(found) and not problem.removes_blocked:
                neighbors[address] = found
            else:
                del neighbors[address]
    return replace(wanted, neighbors=neighbors)
