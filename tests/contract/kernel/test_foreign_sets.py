"""Sets of other programs, such as a blocklist, make no change of the agent's table slow.

nft 1.0.6 and 1.1.3 read all interval sets before ``add element``, ``delete element`` and ``list ruleset``:
with little memory they cannot.
"""

import subprocess
from ipaddress import ip_address

import pytest

from contract.namespaces import in_network_namespace, needs
from dmvpn_agent.kernel.nftables import script
from dmvpn_agent.kernel.nftables.plan import ChangeElements
from dmvpn_agent.kernel.nftables.program import Nftables
from dmvpn_agent.kernel.nftables.section import Section, SectionName

pytestmark = [pytest.mark.contract, needs("nft")]

#: nft takes 30 MiB of address space by itself, and 160 MiB with these elements.
FOREIGN, LITTLE = 100_000, 64 << 10
SETS = Section(
    SectionName.SOURCE_FILTER,
    "  map nbma4 {\n    type ipv4_addr : mark\n  }\n"
    "  set sources4 {\n    type mark . ipv4_addr\n    flags interval\n    counter\n  }\n",
    {
        "nbma4": frozenset({"192.0.2.1 : 65536", "192.0.2.2 : 131072"}),
        "sources4": frozenset({"65536 . 10.255.0.1", "65536 . 10.1.0.0/16", "131072 . 10.255.0.2"}),
    },
)
CHANGE = ChangeElements(
    added={"nbma4": frozenset({"192.0.2.3 : 196608"}), "sources4": frozenset({"196608 . 10.255.0.3"})},
    removed={},
    kept=SETS.elements,
    sets=SETS.sets,
)
REMOVAL = ChangeElements(
    added={},
    removed={"nbma4": frozenset({"192.0.2.2 : 131072"}), "sources4": frozenset({"131072 . 10.255.0.2"})},
    kept={
        "nbma4": frozenset({"192.0.2.1 : 65536"}),
        "sources4": frozenset({"65536 . 10.255.0.1", "65536 . 10.1.0.0/16"}),
    },
    sets=SETS.sets,
)


@pytest.mark.parametrize(
    "commands",
    [script.render([SETS]), CHANGE.script, REMOVAL.refilling],
    ids=["the whole table", "elements are added", "sets are filled anew"],
)
@in_network_namespace
async def test_a_change_reads_no_set_of_another_program(commands: str) -> None:
    """It takes a few milliseconds, whatever else is in the kernel."""
    _add_foreign_set()
    _nft(script.render([SETS]))
    _nft(commands, memory=LITTLE)


@in_network_namespace
async def test_doctors_list_reads_no_elements() -> None:
    """Of rules it has everything."""
    _add_foreign_set()
    _nft("", "-j", "-t", "list", "ruleset", memory=LITTLE)


@pytest.mark.parametrize("refills", [False, True])
@in_network_namespace
async def test_both_ways_to_remove_elements_leave_the_same(refills: bool) -> None:
    """An address without a length is an element as well."""
    firewall = Nftables()
    await firewall.install((SETS,))
    await firewall.change(REMOVAL.refilling if refills else REMOVAL.script)
    shown = await firewall.show()
    assert shown
    assert shown.members == REMOVAL.kept


def _add_foreign_set() -> None:
    elements = ",".join(str(ip_address(0x0B000000 + 2 * number)) for number in range(FOREIGN))
    _nft(f"table ip blocklist {{\n set b {{ type ipv4_addr; flags interval; elements = {{ {elements} }}\n }}\n}}\n")


def _nft(commands: str, *words: str, memory: int | None = None) -> None:
    """Run nft, with so many KiB of memory at most."""
    nft = ("nft", *(words or ("-f", "-")))
    limited = nft if memory is None else ("sh", "-c", 'ulimit -v "$0" && exec "$@"', str(memory), *nft)
    subprocess.run(limited, input=commands, stdout=subprocess.DEVNULL, text=True, check=True)
