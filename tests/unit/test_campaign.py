"""The oracle of the campaign: it shares nothing with the product, and knows FRR's prefix-lists."""

import ast
from ipaddress import ip_network
from pathlib import Path

import pytest

from campaign.prefix_lists import PrefixLists

FOLDER = Path(__file__).parent.parent / "campaign"
#: What puts the product into a world, and runs both.
DRIVERS = {"charon.py", "product.py", "check.py", "__main__.py"}
ORACLE = sorted(path.name for path in FOLDER.glob("*.py") if path.name not in DRIVERS)


def _imported(file: Path) -> set[str]:
    tree = ast.parse(file.read_text())
    found = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return found | {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}


@pytest.mark.parametrize("name", ORACLE)
def test_the_oracle_imports_nothing_of_the_product(name: str) -> None:
    """Nor anything of the tests' that does: what both got wrong alike would never be seen."""
    drivers = {f"campaign.{Path(driver).stem}" for driver in DRIVERS}
    for module in _imported(FOLDER / name):
        assert module.split(".")[0] not in {"dmvpn_agent", "factories", "certificates", "fakes", "deciding"}, module
        assert module not in drivers, module


LISTS = PrefixLists(
    [
        "ip prefix-list a seq 4294967295 deny any",
        "ip prefix-list a seq 5 deny 192.168.7.0/24 le 32",
        "ip prefix-list a seq 10 permit 192.168.0.0/16 le 26",
        "ip prefix-list b seq 5 permit 10.0.0.0/8 ge 24",
        "ip prefix-list c seq 5 permit 10.1.0.0/16",
        "ip prefix-list d description empty",
        "ipv6 prefix-list a seq 5 permit any",
    ]
)


@pytest.mark.parametrize(
    ("name", "prefix", "permitted"),
    [
        ("a", "192.168.0.0/16", True),
        ("a", "192.168.8.0/26", True),
        ("a", "192.168.8.0/27", False),
        ("a", "192.168.7.0/26", False),
        ("a", "192.0.0.0/8", False),
        ("a", "2001:db8::/32", True),
        ("b", "10.0.0.0/8", False),
        ("b", "10.0.0.0/24", True),
        ("b", "10.0.0.1/32", True),
        ("c", "10.1.0.0/16", True),
        ("c", "10.1.0.0/17", False),
        ("d", "8.0.0.0/8", True),
        ("undefined", "8.0.0.0/8", False),
    ],
)
def test_prefix_lists_are_those_of_frr(name: str, prefix: str, *, permitted: bool) -> None:
    """By number, the first match; undefined denies, empty permits (FRR, ``lib/plist.c``)."""
    assert LISTS.permits(name, ip_network(prefix)) is permitted
