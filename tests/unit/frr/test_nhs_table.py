"""Reading nhrpd's hubs."""

from ipaddress import ip_address

import pytest

from dmvpn_agent.frr.nhs_table import Nhs, parse_nhs_table
from dmvpn_agent.frr.show_json import FrrFormatError

ROW = '{"interface":"gre1","fqdn":"%s","nbma":"%s","protocol":"%s"}'
HUB = ip_address("203.0.113.1")


def table(*rows: str) -> str:
    return f'{{"attr":{{"entriesCount":{len(rows)}}},"table":[{",".join(rows)}]}}'


def test_a_registered_hub_has_both_addresses() -> None:
    """As nhrpd 8.4.4 prints it; later versions add a priority."""
    read = parse_nhs_table(table(ROW % ("203.0.113.1", "203.0.113.1", "10.255.0.1")))
    assert read == (Nhs("gre1", "203.0.113.1", HUB, ip_address("10.255.0.1")),)


def test_a_hub_that_has_not_answered_has_no_protocol_address() -> None:
    """nhrpd prints the family."""
    assert parse_nhs_table(table(ROW % ("203.0.113.1", "203.0.113.1", "(unspec)")))[0].protocol_address is None


def test_a_name_that_is_not_resolved_has_no_nbma_address() -> None:
    """nhrpd prints the configured protocol address then."""
    read = parse_nhs_table(table(ROW % ("hub.example.net", "-", "10.255.0.1")))
    assert (read[0].name, read[0].nbma_address) == ("hub.example.net", None)


@pytest.mark.parametrize("row", ["7", '{"interface":"gre1"}', ROW % ("x", "nonsense", "-")])
def test_a_row_that_cannot_be_read_is_skipped(row: str) -> None:
    """The others count."""
    skipped: list[str] = []
    good = ROW % ("203.0.113.1", "203.0.113.1", "10.255.0.1")
    assert len(parse_nhs_table(table(row, good), skipped.append)) == 1
    assert len(skipped) == 1


@pytest.mark.parametrize("text", ["", "% Unknown command", "[]", "{}"])
def test_other_output_is_an_error(text: str) -> None:
    """It does not mean that there are no hubs."""
    with pytest.raises(FrrFormatError):
        parse_nhs_table(text)
