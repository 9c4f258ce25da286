"""What other programs print, files hold and sockets bring: each reader raises what it documents, and nothing else."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from configuration import config_from
from dmvpn_agent.admission.recording import RecordingError, read, write
from dmvpn_agent.bgp.running_config import parse_running_config, require_complete
from dmvpn_agent.bgp.sessions import parse_bgp_summary
from dmvpn_agent.bridge.handover_state import BadHandover, decode_handover
from dmvpn_agent.cli import sas
from dmvpn_agent.cli.client import OTHER_FORM
from dmvpn_agent.config.table import ConfigError
from dmvpn_agent.config.toml_file import read_toml
from dmvpn_agent.doctor.node_text import parse_links, parse_nhrpd, parse_traps
from dmvpn_agent.frr.nhrp_cache import parse_nhrp_cache
from dmvpn_agent.frr.show_json import FrrFormatError
from dmvpn_agent.kernel.nftables.shown_table import NftFormatError, parse_table
from dmvpn_agent.runtime.json_values import document
from dmvpn_agent.runtime.output import painted
from dmvpn_agent.runtime.printable import printable_values
from dmvpn_agent.view.status_text import status_text
from factories import NOW
from fuzz.seeds import HANDOVERS
from fuzz.targets import Broken
from fuzz.text import json_changed, text_changed
from unit.cli.test_replay import GOOD, IMPOSTOR
from unit.cli.test_sas import ONE, OTHER
from unit.cli.test_sas import _state as sas_state
from unit.doctor.test_node_text import POLICIES, RUNNING
from unit.view.test_status_text import _state as status_state

TESTS = Path(__file__).parents[1]
DATA = TESTS / "data"

Change = Callable[[Random, str, Sequence[str]], str]


def _recorded(pattern: str) -> tuple[str, ...]:
    return tuple(file.read_text() for file in sorted(DATA.glob(pattern)))


class PrintedIdentity:
    """One kind of text, changed, and its reader, which may raise ``documented``."""

    def __init__(
        self, seeds: Sequence[str], change: Change, reader: Callable[[str], object], *documented: type[Exception]
    ) -> None:
        self._seeds = tuple(seeds)
        self._change = change
        self._reader = reader
        self._documented = documented

    def make(self, random: Random) -> bytes:
        """Return an input."""
        return self._change(random, random.choice(self._seeds), self._seeds).encode(errors="surrogatepass")

    def check(self, data: bytes, random: Random) -> bool:
        """Read an input; tell whether it was understood."""
        try:
            self._reader(data.decode(errors="replace"))
        except self._documented:
            return False
        return True


class Configuration(PrintedIdentity):
    """``parse_running_config``, and whether what is cut off is known for it."""

    def __init__(self) -> None:
        super().__init__(_recorded("frr-*/*config.txt"), text_changed, parse_running_config, FrrFormatError)

    def check(self, data: bytes, random: Random) -> bool:
        """Read an input, and the same cut off."""
        text = data.decode(errors="replace")
        cut = text[: random.randrange(len(text) + 1)]
        try:
            require_complete(cut, framed=False)
        except FrrFormatError:
            pass
        else:
            if cut.rstrip().rpartition("\n")[2] != "end":
                raise Broken("a configuration that is cut off passes as a whole one")
        return super().check(data, random)


class NhrpCache(PrintedIdentity):
    """``parse_nhrp_cache``: every row is read or told of."""

    def __init__(self) -> None:
        row = '{"interface":"gre1","type":"dynamic","protocol":"10.255.0.2","nbma":"203.0.113.2","identity":"CN=x"}'
        rows = json.dumps({"attr": {"entriesCount": 2}, "table": [json.loads(row)] * 2})
        super().__init__((*_recorded("frr-*/nhrp-cache*.json"), rows), json_changed, self._read, FrrFormatError)

    def _read(self, text: str) -> None:
        skipped: list[str] = []
        found = parse_nhrp_cache(text, skipped.append)
        if len(found) + len(skipped) != len(json.loads(text)["table"]):
            raise Broken("a row is neither read nor told of")


class BgpSummary(PrintedIdentity):
    """``parse_bgp_summary``."""

    def __init__(self) -> None:
        seeds = _recorded("frr-*/*summary*.json")
        super().__init__(seeds, json_changed, lambda text: parse_bgp_summary(text, lambda _: None), FrrFormatError)


class Nft(PrintedIdentity):
    """``parse_table``."""

    def __init__(self) -> None:
        super().__init__(_recorded("nft-*/table.json"), json_changed, parse_table, NftFormatError)


_LINKS = json.dumps([
    {"ifname": "gre1", "flags": ["NOARP", "UP"], "mtu": 1400,
     "linkinfo": {"info_kind": "gre", "info_data": {"ikey": "0.0.0.42"}},
     "addr_info": [{"local": "10.255.0.1", "prefixlen": 32, "scope": "global"}]}, {},
])  # fmt: skip


class NodeText(PrintedIdentity):
    """``parse_links``, ``parse_traps`` and ``parse_nhrpd``."""

    def __init__(self) -> None:
        super().__init__((_LINKS, POLICIES, RUNNING), self._changed, self._read, ValueError)

    @staticmethod
    def _changed(random: Random, text: str, others: Sequence[str]) -> str:
        return json_changed(random, text, others) if text == _LINKS else text_changed(random, text, others)

    @staticmethod
    def _read(text: str) -> None:
        failed = 0
        for reader in (parse_links, lambda given: tuple(parse_traps(given)), parse_nhrpd):
            try:
                reader(text)
            except ValueError:
                failed += 1
        if failed == 3:
            raise ValueError(text)


class Recordings(PrintedIdentity):
    """``recording.read``."""

    def __init__(self) -> None:
        seeds = [write(one).decode() for one in (GOOD, IMPOSTOR)]
        super().__init__(seeds, json_changed, lambda text: read(text.encode()), RecordingError)


class Handovers(PrintedIdentity):
    """``decode_handover``, its values changed."""

    def __init__(self) -> None:
        seeds = [data.decode() for data in HANDOVERS]
        super().__init__(seeds, json_changed, lambda text: decode_handover(text.encode()), BadHandover)


class Settings(PrintedIdentity):
    """The configuration file."""

    def __init__(self) -> None:
        seeds = [(TESTS.parent / "deploy" / f"agent.{name}.toml").read_text() for name in ("hub", "spoke", "example")]
        super().__init__(seeds, text_changed, lambda text: config_from(read_toml(text.encode())), ConfigError)


class Answers(PrintedIdentity):
    """The agent's answer on the control socket, as ``status`` and ``sas`` show it."""

    def __init__(self) -> None:
        seeds = [
            json.dumps({**status_state(), "charon": {**status_state()["charon"], "ike_sas": sas_state(ONE, OTHER)}})
        ]
        super().__init__(seeds, json_changed, self._read, *OTHER_FORM)

    @staticmethod
    def _read(text: str) -> None:
        state = printable_values(document(text))
        shown = painted(status_text(state, NOW), colors=False) + sas.render(state["charon"]["ike_sas"], NOW)
        if not shown.replace("\n", "").isprintable():
            raise Broken("what is shown is not printable")
