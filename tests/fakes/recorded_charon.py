"""A charon that replays a recording of a real one: its events in order, and its SAs at each moment."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dmvpn_agent.charon.sa_reader import parse_ike_sas
from dmvpn_agent.charon.vici import Packet, PacketType, Section, sections, text
from factories import NOW
from fakes.charon import FakeCharon, FakeSa
from fakes.transcript import load


@dataclass
class RecordedSa(FakeSa):
    """An IKE_SA of a recorded list."""

    recorded: Section = field(default_factory=dict)

    def section(self, **changes: Any) -> dict[str, Any]:
        return {**self.recorded, **changes}


class RecordedCharon(FakeCharon):
    """Replays a recording. ``patched=False`` leaves out what Alpine's patches add."""

    def __init__(self, path: Path, recording: Path, *, patched: bool = True) -> None:
        super().__init__(path, patched=patched)
        self._patched = patched
        self._steps = list(_steps([line.packet for line in load(recording) if line.sender == "charon"]))

    @property
    def finished(self) -> bool:
        """Whether the recording is at its end."""
        return not self._steps

    def step(self) -> str:
        """Replay the next event and return its name, or change the SAs and return ``list-sas``."""
        step = self._steps.pop(0)
        if isinstance(step, Packet):
            if self._patched or not step.name.startswith("child-state-"):
                self.raise_event(step.name, self._unpatched(step.message))
            return step.name
        self.sas = {sa.unique_id: self._sa(sa) for sa in step}
        return "list-sas"

    def _sa(self, sa: RecordedSa) -> RecordedSa:
        """Return an IKE_SA as this charon lists it, and put its certificates into the cache."""
        for key in ("local-cert-data", "remote-cert-data"):
            if (der := sa.recorded.get(key)) and der not in self.certificates:
                self.certificates.append(der)
        return replace(sa, recorded=self._unpatched(sa.recorded))

    def _unpatched(self, section: Section) -> Section:
        if self._patched:
            return section
        return {
            key: self._unpatched(value) if isinstance(value, dict) else value
            for key, value in section.items()
            if not key.endswith("-cert-data")
        }

    def _command(self, packet: Packet, writer: Any) -> Packet:
        if packet.name == "initiate" and self._patched:
            return Packet(PacketType.CMD_RESPONSE, message={"success": "yes"})
        return super()._command(packet, writer)


def _steps(packets: Sequence[Packet]) -> Iterator[Packet | tuple[RecordedSa, ...]]:
    """Yield events, and each list of SAs that differs from the last one."""
    listed: list[RecordedSa] = []
    before: tuple[RecordedSa, ...] | None = None
    for packet in packets:
        if packet.type is PacketType.EVENT and packet.name != "list-sa":
            yield packet
        elif packet.type is PacketType.EVENT:
            for name, section in sections(packet.message):
                peer = text(section, "remote-host"), text(section, "remote-id")
                listed.append(RecordedSa(int(text(section, "uniqueid")), *peer, name=name, recorded=section))
        elif packet.type is PacketType.CMD_RESPONSE and not packet.message:
            if tuple(listed) != before:
                before = tuple(listed)
                yield before
            listed = []


def installed(charon: RecordedCharon) -> dict[int, str]:
    """Return the installed CHILD_SAs, with the peers' addresses."""
    return {
        child.unique_id: str(sa.remote_host)
        for listed in charon.sas.values()
        for sa in parse_ike_sas({listed.name: listed.section()}, NOW)
        for child in sa.children
        if child.installed
    }
