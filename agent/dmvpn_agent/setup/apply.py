"""Carries out a plan, step by step: what is about to change is written to the journal first."""

from collections.abc import Callable
from functools import singledispatchmethod

from dmvpn_agent.setup.disk import Disk
from dmvpn_agent.setup.files import FileStep
from dmvpn_agent.setup.journal import Entry, Journal
from dmvpn_agent.setup.machine import Machine, MachineError
from dmvpn_agent.setup.plan import MADE_BY_SERVICES, Directory, Group, Plan, Restart, Run, Step, Sysctl, Tunnel, User
from dmvpn_agent.setup.services import Commands
from dmvpn_agent.setup.system import File, Manager

#: Where accounts are, and the copies of the former version that the tools keep.
ACCOUNT_FILES = ("/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow")
FORMER_ACCOUNT_FILES = tuple(f"{path}-" for path in ACCOUNT_FILES)
#: How long a service may take until it serves.
SERVES_SECONDS = 60.0


class Applier:
    """Carries out plans on one machine. ``report`` gets a line for each step."""

    def __init__(
        self, disk: Disk, journal: Journal, machine: Machine, manager: Manager, report: Callable[[str], None]
    ) -> None:
        self._disk = disk
        self._journal = journal
        self._machine = machine
        self._commands = Commands(manager)
        self._report = report

    async def apply(self, plan: Plan) -> None:
        """Carry out a plan. Raises ``OSError`` and ``MachineError``; the run is unfinished then, and can be
        repeated.
        """
        if not plan.steps:
            return
        self._journal.add(Entry("begin"))
        for step in plan.steps:
            await self._do(step)
        self._journal.add(Entry("done"))

    @singledispatchmethod
    async def _do(self, step: Step) -> None:
        raise TypeError(step)

    @_do.register
    async def _(self, step: FileStep) -> None:
        self._journal.keep_file(step.path)
        if step.content is None:
            self._report(f"removes {step.path}")
            self._disk.remove(step.path)
        else:
            self._report(f"writes {step.path}")
            self._disk.write(step.path, File(step.content, step.mode, step.owner, step.group))
        self._journal.written(step.path)

    @_do.register
    async def _(self, step: Directory) -> None:
        mode = self._disk.directory_mode(step.path)
        if not self._journal.has("directory", step.path):
            self._journal.add(Entry("directory", step.path, mode))
        self._disk.make_directory(step.path, step.mode)

    @_do.register
    async def _(self, step: Group) -> None:
        self._keep_accounts("group", step.name)
        self._report(f"adds the group {step.name}")
        await self._either(("groupadd", "--system", step.name), ("addgroup", "-S", step.name), already=9)
        self._accounts_written()

    @_do.register
    async def _(self, step: User) -> None:
        if not step.exists:
            self._keep_accounts("user", step.name)
            self._report(f"adds the user {step.name}")
            home, shell = "/var/lib/dmvpn-agent", "/usr/sbin/nologin"
            await self._either(
                ("useradd", "--system", "--gid", step.name, "--home-dir", home, "--shell", shell, step.name),
                ("adduser", "-S", "-D", "-H", "-h", home, "-s", "/sbin/nologin", "-G", step.name, step.name),
                already=9,
            )
        self._keep_accounts()
        for group in step.groups:
            await self._either(("usermod", "--append", "--groups", group, step.name), ("addgroup", step.name, group))
        self._accounts_written()

    @_do.register
    async def _(self, step: Sysctl) -> None:
        before = self._machine.sysctl(step.path)
        if before == step.value:
            return
        if not self._journal.has("sysctl", step.path):
            self._journal.add(Entry("sysctl", step.path, before))
        self._report(f"sets {step.path.replace('/', '.')} = {step.value}")
        self._machine.set_sysctl(step.path, step.value)

    @_do.register
    async def _(self, step: Run) -> None:
        if step.service:
            await self._keep_service(step.service, ours=False)
        for path in step.writes:
            self._journal.keep_file(path)
        name = " ".join(step.argv)
        if step.again and not self._journal.has("again", name):
            self._journal.add(Entry("again", name, {"argv": step.argv, "writes": step.writes}))
        self._report(name)
        try:
            await self._machine.must(step.argv, step.stdin)
        except MachineError as error:
            if not step.otherwise:
                raise
            self._report(f"  {error}")
            self._report(f"  it goes on: {step.otherwise}")
        for path in step.writes:
            self._journal.written(path)

    @_do.register
    async def _(self, step: Tunnel) -> None:
        if not self._journal.has("link", "gre1"):
            self._journal.add(Entry("link", "gre1", step.undo))
        for argv in step.commands:
            self._report(" ".join(argv))
            await self._machine.must(argv)

    @_do.register
    async def _(self, step: Restart) -> None:
        service = step.service
        await self._keep_service(service, ours=step.ours)
        for path in MADE_BY_SERVICES if step.ours else ():
            if not self._journal.has("tree", path):
                self._journal.add(Entry("tree", path, self._disk.directory_mode(path)))
        self._report(f"starts {service}")
        await self._machine.must(self._commands.enable(service))
        await self._machine.must(self._commands.restart(service))
        if step.socket and not await self._machine.serves(step.socket, SERVES_SECONDS):
            log = f"journalctl -u {service}" if self._commands.manager is Manager.SYSTEMD else "the system's log"
            raise MachineError(f"{service} does not serve {step.socket} after {SERVES_SECONDS:g} s: see {log}")

    async def _keep_service(self, service: str, *, ours: bool) -> None:
        if not self._journal.has("service", service):
            active = (await self._machine.run(self._commands.is_active(service))).status == 0
            enabled = (await self._machine.run(self._commands.is_enabled(service))).status == 0
            self._journal.add(Entry("service", service, {"active": active, "enabled": enabled, "ours": ours}))

    async def _either(self, shadow: tuple[str, ...], busybox: tuple[str, ...], already: int = 0) -> None:
        """Run the program of the shadow suite, or busybox's where that is missing. ``already``: a status as good."""
        try:
            done = await self._machine.run(shadow)
        except MachineError:
            await self._machine.must(busybox)
            return
        if done.status not in (0, already):
            raise MachineError(f"{' '.join(shadow)}: status {done.status}: {done.stderr.strip()[-300:]}")

    def _keep_accounts(self, kind: str = "", name: str = "") -> None:
        for path in (*ACCOUNT_FILES, *FORMER_ACCOUNT_FILES):
            self._journal.keep_file(path)
        if kind and not self._journal.has(kind, name):
            self._journal.add(Entry(kind, name))

    def _accounts_written(self) -> None:
        for path in ACCOUNT_FILES:
            self._journal.written(path)
