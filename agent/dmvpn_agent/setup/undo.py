"""Puts the machine back to what the journal says it was before the first run of setup."""

from collections.abc import Callable, Iterable

from dmvpn_agent.setup.apply import ACCOUNT_FILES, FORMER_ACCOUNT_FILES
from dmvpn_agent.setup.disk import Disk
from dmvpn_agent.setup.journal import Entry, Journal, digest
from dmvpn_agent.setup.machine import Machine, MachineError
from dmvpn_agent.setup.paths import kept_copy
from dmvpn_agent.setup.services import Argv, Commands
from dmvpn_agent.setup.system import File, Manager

#: The end of the name of a copy of a file that somebody changed after setup had written it.
_CHANGED = ".dmvpn-agent-changed"
_SWANCTL = "/etc/swanctl/"


def changed_copy(name: str) -> str:
    """Return where the copy goes, so that no program reads it.

    ifupdown's ``source …/*`` skips names with a dot first. swanctl loads every file in its folders of keys,
    certificates and CAs, but none in the folder above them.
    """
    folder, _, file = name.rpartition("/")
    if folder.startswith(_SWANCTL):
        folder, file = _SWANCTL[:-1], f"{folder.removeprefix(_SWANCTL)}_{file}"
    return f"{folder}/.{file}{_CHANGED}"


class Undo:
    """Undoes all runs of setup. ``report`` gets a line for each step."""

    def __init__(
        self, disk: Disk, journal: Journal, machine: Machine, manager: Manager, report: Callable[[str], None]
    ):
        self._disk = disk
        self._journal = journal
        self._machine = machine
        self._commands = Commands(manager)
        self._report = report
        #: What somebody changed between two runs: their version, ``None`` if setup has merged it into its own.
        self._edited: dict[str, File | None] = {}
        self.problems: list[str] = []

    async def undo(self) -> None:
        """Undo everything, the last step first. What could not be undone is in ``problems``; the journal stays then.

        Raises ``OSError`` and ``JournalUnreadable``.
        """
        entries = self._journal.entries
        written = {entry.name: entry.before for entry in entries if entry.kind == "written"}
        edited = [entry.name for entry in entries if entry.kind == "edited"]
        self._edited = {path: self._disk.read(kept_copy(path)) for path in edited}
        services = [entry for entry in reversed(entries) if entry.kind == "service"]
        await self._stop(services)
        if services:  # the agent leaves its table when it stops, so that a restart changes nothing
            await self._try(("nft", "delete", "table", "inet", "dmvpn_agent"), any_status=True)
        for entry in reversed(entries):
            if entry.kind == "file":
                self._file(entry, written.get(entry.name))
            elif entry.kind == "directory":
                self._directory(entry)
            elif entry.kind == "sysctl" and entry.before is not None:
                self._sysctl(entry)
            elif entry.kind == "tree" and entry.before is None:
                self._disk.remove_tree(entry.name)
            elif entry.kind == "link":
                for argv in entry.before:
                    await self._try(tuple(argv), any_status=True)
        for entry in [one for one in entries if one.kind == "again"]:
            await self._again(tuple(entry.before["argv"]))
            for file in [one for one in entries if one.kind == "file" and one.name in entry.before["writes"]]:
                self._put_if_changed(file)
        await self._accounts(entries)
        self._former_accounts(entries)
        await self._start(services)
        if not self.problems:
            self._journal.forget()

    async def _stop(self, services: Iterable[Entry]) -> None:
        for entry in services:
            if (entry.before["ours"] or not entry.before["active"]) and await self._is(
                self._commands.is_active, entry
            ):
                self._report(f"stops {entry.name}")
                await self._try(self._commands.stop(entry.name))
            if not entry.before["enabled"] and await self._is(self._commands.is_enabled, entry):
                await self._try(self._commands.disable(entry.name))

    async def _is(self, command: Callable[[str], Argv], entry: Entry) -> bool:
        argv = command(entry.name)
        try:
            return bool(argv) and (await self._machine.run(argv)).status == 0
        except MachineError:
            return False

    def _sysctl(self, entry: Entry) -> None:
        try:
            self._machine.set_sysctl(entry.name, entry.before)
        except MachineError as error:
            self.problems.append(str(error))

    async def _start(self, services: Iterable[Entry]) -> None:
        await self._try(self._commands.reload_units())
        for entry in reversed(list(services)):
            if entry.before["active"] and not entry.before["ours"]:
                self._report(f"restarts {entry.name}")
                await self._try(self._commands.restart(entry.name))

    def _file(self, entry: Entry, written: str | None) -> None:
        if entry.name in FORMER_ACCOUNT_FILES:
            return
        self._disk.discard_unfinished(entry.name)
        before, now = self._journal.file_before(entry), self._disk.read(entry.name)
        if now == before:
            return
        changed = entry.name in self._edited or digest(now) not in (written, digest(before))
        changed = changed and written is not None and now is not None
        if changed and entry.name in ACCOUNT_FILES:
            return  # other accounts came since: ours are removed by name
        if changed and now is not None:
            copy = changed_copy(entry.name)
            self._report(f"keeps {entry.name}, which was changed since, as {copy}")
            self._disk.write(copy, (self._edited.get(entry.name) if digest(now) == written else None) or now)
        self._put(entry.name, before)

    async def _again(self, argv: Argv) -> None:
        """Have a program read its files; one that was stopped or removed meanwhile has nothing to undo."""
        try:
            await self._machine.must(argv)
        except MachineError as error:
            self._report(f"  {error}")
            self._report("  it goes on: the files are as before, and count when that program reads them again")

    def _put_if_changed(self, entry: Entry) -> None:
        if (before := self._journal.file_before(entry)) != self._disk.read(entry.name):
            self._put(entry.name, before)

    def _directory(self, entry: Entry) -> None:
        if entry.before is None:
            if not self._disk.remove_directory(entry.name):
                self._report(f"leaves {entry.name}, which is not empty")
        else:
            self._disk.make_directory(entry.name, entry.before)

    async def _accounts(self, entries: Iterable[Entry]) -> None:
        for entry in reversed(list(entries)):
            if entry.kind in {"user", "group"} and self._has_account(entry):
                self._report(f"removes the {entry.kind} {entry.name}")
                await self._try((f"{entry.kind}del", entry.name), ("deluser" if entry.kind == "user" else "delgroup",
                                                                    entry.name))  # fmt: skip

    def _former_accounts(self, entries: Iterable[Entry]) -> None:
        """Restore the tools' copies of the former accounts, unless other accounts came since."""
        before = {entry.name: self._journal.file_before(entry) for entry in entries if entry.kind == "file"}
        for path in FORMER_ACCOUNT_FILES:
            if path not in before or before[path] == self._disk.read(path):
                continue
            if self._disk.read(path[:-1]) == before.get(path[:-1]):
                self._put(path, before[path])

    def _put(self, path: str, before: File | None) -> None:
        if before is None:
            self._report(f"removes {path}")
            self._disk.remove(path)
        else:
            self._report(f"restores {path}")
            self._disk.write(path, before)

    def _has_account(self, entry: Entry) -> bool:
        found = self._disk.read("/etc/passwd" if entry.kind == "user" else "/etc/group")
        return found is not None and f"\n{entry.name}:".encode() in b"\n" + found.content

    async def _try(self, argv: Argv, instead: Argv = (), *, any_status: bool = False) -> None:
        """Run a command; if it fails, note it and go on."""
        if not argv:
            return
        try:
            done = await self._machine.run(argv)
        except MachineError as error:
            if instead:
                await self._try(instead)
            else:
                self.problems.append(str(error))
            return
        if done.status and not any_status:
            self.problems.append(f"{' '.join(argv)}: status {done.status}: {done.stderr.strip()[-300:]}")
