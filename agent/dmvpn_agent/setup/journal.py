"""What setup has done, on the disk: written before each step, so that an interruption at any point can be undone.

The journal has the machine as it was before the first run. A later run adds what it touches first; it never
overwrites what an earlier one kept.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from dmvpn_agent.setup.disk import Disk
from dmvpn_agent.setup.paths import OWN_FOLDER
from dmvpn_agent.setup.system import File, content_digest

_JOURNAL, _BACKUPS = f"{OWN_FOLDER}/journal", f"{OWN_FOLDER}/files"


class JournalUnreadable(Exception):
    """The journal was changed by hand, or its disk is damaged; the text says where."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that was about to be changed, and how it was.

    ``kind``: ``file``, ``directory``, ``group``, ``user``, ``sysctl``, ``service``, ``link``, ``again`` (a command
    that reads files, for undo), ``tree`` (a directory that services fill); ``begin`` and ``done`` for a run;
    ``undone``, after which nothing before counts; ``written`` for a file's new content; ``edited`` for one that
    somebody else had changed when a later run wrote it. ``before``: by kind.
    """

    kind: str
    name: str = ""
    before: Any = None


class Journal:
    """The journal of one machine."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._entries: list[Entry] | None = None
        self._torn = False

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Return all entries, the oldest first. Raises ``OSError`` and ``JournalUnreadable``."""
        if self._entries is None:
            read = list(self._read())
            undone = max((number for number, one in enumerate(read, start=1) if one.kind == "undone"), default=0)
            self._entries = read[undone:]
        return tuple(self._entries)

    @property
    def unfinished(self) -> bool:
        """Tell whether the last run did not come to its end."""
        runs = [entry.kind for entry in self.entries if entry.kind in {"begin", "done"}]
        return runs[-1:] == ["begin"]

    def has(self, kind: str, name: str) -> bool:
        """Tell whether a thing is in the journal already."""
        return any((entry.kind, entry.name) == (kind, name) for entry in self.entries)

    def add(self, entry: Entry) -> None:
        """Add an entry, and wait until it is on the disk. Raises ``OSError``."""
        entries = self.entries
        if self._disk.directory_mode(_BACKUPS) is None:
            for folder in (OWN_FOLDER, _BACKUPS):
                self._disk.make_directory(folder, 0o700)
        if self._torn:
            whole, _ = self._lines()
            self._disk.write(_JOURNAL, File(b"".join(whole), 0o600, "root", "root"))
            self._torn = False
        self._disk.append(_JOURNAL, _line(entry))
        self._entries = [*entries, entry]

    def keep_file(self, path: str) -> None:
        """Keep a file as it is, unless an earlier run has. Raises ``OSError``."""
        if self.has("file", path):
            written = self.digests.get(path)
            if written is not None and written != digest(self._disk.read(path)) and not self.has("edited", path):
                self.add(Entry("edited", path))
            return
        found = self._disk.read(path)
        if found is None:
            self.add(Entry("file", path))
            return
        if not self.entries:
            self.add(Entry("begin"))
        number = sum(entry.kind == "file" for entry in self.entries)
        backup = f"{_BACKUPS}/{number:04}"
        self._disk.write(backup, File(found.content, 0o600, "root", "root"))
        self.add(Entry("file", path, {"backup": backup, "mode": found.mode, "owner": found.owner,
                                      "group": found.group}))  # fmt: skip

    def written(self, path: str) -> None:
        """Record a file's new content, to notice later changes. Raises ``OSError``."""
        new = digest(self._disk.read(path))
        if self.digests.get(path, "") != new:
            self.add(Entry("written", path, new))

    @property
    def digests(self) -> dict[str, str]:
        """Return the hash of what setup wrote last into each file. Raises ``OSError`` and ``JournalUnreadable``."""
        return {entry.name: entry.before for entry in self.entries if entry.kind == "written"}

    def file_before(self, entry: Entry) -> File | None:
        """Return a file as it was. Raises ``OSError`` and ``JournalUnreadable``."""
        if entry.before is None:
            return None
        kept = self._disk.read(entry.before["backup"])
        if kept is None:
            raise JournalUnreadable(f"{entry.before['backup']}, the backup of {entry.name}, is missing")
        return File(kept.content, entry.before["mode"], entry.before["owner"], entry.before["group"])

    def forget(self) -> None:
        """Remove the journal and all backups, once everything is undone. Raises ``OSError``."""
        if self.entries:
            self.add(Entry("undone"))
        self._disk.remove_tree(_BACKUPS)
        self._disk.remove(_JOURNAL)
        self._disk.remove_tree(OWN_FOLDER)
        self._entries = None

    def _read(self) -> Iterator[Entry]:
        whole, self._torn = self._lines()
        for number, line in enumerate(whole, start=1):
            try:
                raw = json.loads(line)
                yield Entry(raw["kind"], raw["name"], raw["before"])
            except (ValueError, KeyError, TypeError):
                raise JournalUnreadable(f"{_JOURNAL}, line {number}, is not what setup wrote") from None

    def _lines(self) -> tuple[list[bytes], bool]:
        """Return the journal's lines, and whether the last one was interrupted: its step was not begun."""
        found = self._disk.read(_JOURNAL)
        *whole, rest = (found.content if found else b"").split(b"\n")
        return [line + b"\n" for line in whole], bool(rest)


def _line(entry: Entry) -> bytes:
    return json.dumps(asdict(entry)).encode() + b"\n"


def digest(file: File | None) -> str:
    """Return a hash of a file's content, empty if there is none."""
    return content_digest(file.content if file else None)
