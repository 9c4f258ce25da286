"""The changes of a plan lead to the desired tables, and every interrupted prefix of it is harmless."""

from ipaddress import IPv4Address, IPv4Network

from hypothesis import given
from hypothesis import strategies as st

from dmvpn_agent.kernel.routes.tables import DEFAULT, Change, Route, Rule, Tables, Verb, plan

networks = st.sampled_from([DEFAULT, IPv4Network("192.0.2.0/24"), IPv4Network("203.0.113.5/32")])
gateways = st.sampled_from([None, IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")])
#: The kernel has one route for each table and network.
routes = st.dictionaries(
    st.tuples(st.integers(1, 3), networks), st.tuples(st.sampled_from(["e0", "e1"]), gateways), max_size=6
).map(lambda found: frozenset(Route(table, network, *rest) for (table, network), rest in found.items()))
rules = st.frozensets(
    st.builds(Rule, st.just(7700), st.integers(1, 3), st.sampled_from([None, IPv4Address("192.0.2.9")])), max_size=4
)
tables = st.builds(Tables, routes, rules)


class Kernel:
    """Refuses what Linux refuses."""

    def __init__(self, tables: Tables) -> None:
        self.routes = {(route.table, route.network): route for route in tables.routes}
        self.rules = set(tables.rules)

    def make(self, change: Change) -> None:
        subject = change.subject
        if isinstance(subject, Rule):
            (self.rules.add if change.verb is Verb.ADD else self.rules.remove)(subject)
        elif change.verb is Verb.ADD:
            assert (subject.table, subject.network) not in self.routes
            self.routes[subject.table, subject.network] = subject
        else:
            assert self.routes.pop((subject.table, subject.network)) == subject


@given(tables, tables)
def test_a_plan_leads_to_what_is_desired(desired: Tables, observed: Tables) -> None:
    """In an order that the kernel accepts, and without a rule for a table whose routes are not there yet."""
    kernel = Kernel(observed)
    for change in plan(desired, observed):
        if isinstance(change.subject, Rule) and change.verb is Verb.ADD:
            table = change.subject.table
            assert {route for route in desired.routes if route.table == table} <= set(kernel.routes.values())
        kernel.make(change)
    assert Tables(frozenset(kernel.routes.values()), frozenset(kernel.rules)) == desired
    assert plan(desired, desired) == ()
