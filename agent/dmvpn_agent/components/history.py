"""What is written down: the history, and the recording of nhrpd's messages."""

from collections.abc import Callable
from pathlib import Path

from dmvpn_agent.admission.decision_record import DecisionRecord
from dmvpn_agent.admission.recorder import Recorder
from dmvpn_agent.components.context import Context
from dmvpn_agent.runtime.supervisor import Part
from dmvpn_agent.view.history import TABLE, History
from dmvpn_agent.view.recorded import HistoryWriter


class HistoryComponents:
    """``name_at`` returns the name of the peer at an address; ``record``: the file in which events are recorded."""

    def __init__(self, context: Context, name_at: Callable[[str], str], record: Path | None) -> None:
        self.history = History(context.store("history", TABLE), context.clocks.now)
        self.writer = HistoryWriter(self.history, name_at)
        self.recorder = Recorder(record) if record else None

    def decided(self, message: bytes, decided: DecisionRecord) -> None:
        """Write down a message of nhrpd and the decision on it."""
        self.writer.decided(decided)
        if self.recorder:
            self.recorder.record(message, decided)

    @property
    def parts(self) -> list[Part]:
        """Return what the agent runs of these. They stop last."""
        parts = [Part("history", start=self.history.open, stop=self.history.close)]
        if recorder := self.recorder:
            parts.insert(0, Part("recorder", start=recorder.start, stop=recorder.stop))
        return parts
