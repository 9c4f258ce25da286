"""A folder in place of a machine, on which setup is carried out, and can be killed at any point."""

import asyncio
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dmvpn_agent.runtime.program import Completed
from dmvpn_agent.setup.apply import Applier
from dmvpn_agent.setup.choose import choose
from dmvpn_agent.setup.disk import UNFINISHED, Disk
from dmvpn_agent.setup.journal import Journal
from dmvpn_agent.setup.machine import Machine, MachineError
from dmvpn_agent.setup.paths import ALL_PATHS
from dmvpn_agent.setup.plan import FORWARDING, Plan, make_plan
from dmvpn_agent.setup.system import File, Firewall, FirewallBy, Manager, System
from dmvpn_agent.setup.undo import Undo
from nodes import ANSWERS, MACHINE, spoke_bundle

ACCOUNTS = {"/etc/passwd": "root:x:0:0::/root:/bin/sh\n", "/etc/group": "root:x:0:\nfrrvty:x:9:\n"}


class Killed(BaseException):
    """The process ends here; nothing runs any more."""


@dataclass
class Fuse:
    """Ends the process before or after the n-th effect."""

    left: int | None = None
    effects: int = 0

    def burn(self, effect: Callable[[], Any]) -> Any:
        """Have an effect, unless the process is killed before; or is killed after it."""
        self.effects += 1
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                raise Killed
        result = effect()
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                raise Killed
        return result


class FusedDisk(Disk):
    """A disk whose effects end the process. A write that is interrupted leaves its unfinished file."""

    def __init__(self, root: Path, fuse: Fuse) -> None:
        super().__init__(root, owns=False)
        self._fuse = fuse

    def write(self, path: str, file: File) -> None:
        def half() -> None:
            place = self.path(path)
            place.with_name(place.name + UNFINISHED).write_bytes(file.content[: len(file.content) // 2])

        self._fuse.burn(half)
        self._fuse.burn(lambda: super(FusedDisk, self).write(path, file))

    def append(self, path: str, line: bytes) -> None:
        def half() -> None:
            super(FusedDisk, self).append(path, line[: len(line) // 2])
            if self._fuse.left != 1:
                place = self.path(path)
                place.write_bytes(place.read_bytes()[: -(len(line) // 2)])

        self._fuse.burn(half)
        self._fuse.burn(lambda: super(FusedDisk, self).append(path, line))

    def remove(self, path: str) -> None:
        self._fuse.burn(lambda: super(FusedDisk, self).remove(path))

    def make_directory(self, path: str, mode: int) -> None:
        self._fuse.burn(lambda: super(FusedDisk, self).make_directory(path, mode))

    def remove_tree(self, path: str) -> None:
        self._fuse.burn(lambda: super(FusedDisk, self).remove_tree(path))


class FakeMachine(Machine):
    """Programs that do to the folder what the real ones do to a machine."""

    def __init__(self, disk: Disk, fuse: Fuse) -> None:
        super().__init__()
        self._disk, self._fuse = disk, fuse
        self.sysctls = dict.fromkeys(FORWARDING, "0")
        self.active, self.enabled = {"strongswan", "frr"}, {"strongswan", "frr"}
        self.starts: list[str] = []
        self.links: set[str] = set()
        self.missing: set[str] = set()

    async def run(self, argv: Sequence[str], stdin: str = "") -> Completed:
        if argv[0] in self.missing:
            raise MachineError(f"{argv[0]} cannot be started")
        return Completed(self._fuse.burn(lambda: self._status(tuple(argv))), "", "")

    def _status(self, argv: tuple[str, ...]) -> int:
        match argv:
            case ("systemctl", "--quiet", "is-active", name):
                return 0 if name in self.active else 3
            case ("systemctl", "--quiet", "is-enabled", name):
                return 0 if name in self.enabled else 1
            case ("systemctl", "restart", name):
                self.active.add(name)
                self.starts.append(name)
            case ("systemctl", "stop", name):
                self.active.discard(name)
            case ("systemctl", "enable", name):
                self.enabled.add(name)
            case ("systemctl", "disable", name):
                self.enabled.discard(name)
            case ("awall", "activate", _):
                self.rules()
            case ("ifup", *_):
                self.links.add("gre1")
            case ("ip", "link", "delete", _):
                self.links.discard("gre1")
            case ("groupadd", "--system", name):
                return self._add("/etc/group", f"{name}:x:7:")
            case ("useradd", *_, name):
                return self._add("/etc/passwd", f"{name}:x:7:7::/:/bin/false")
            case ("userdel", name):
                self._delete("/etc/passwd", name)
            case ("groupdel", name):
                self._delete("/etc/group", name)
        return 0

    def rules(self) -> None:
        """Write what awall makes of its policies."""
        names = sorted(one.name for one in self._disk.path("/etc/awall").glob("*.json"))
        self._disk.path("/etc/iptables/rules-save").write_text("\n".join(names))

    def _add(self, path: str, line: str) -> int:
        file = self._disk.path(path)
        if f"{line}\n" in file.read_text():
            return 9
        self._disk.path(f"{path}-").write_text(file.read_text())
        file.write_text(f"{file.read_text()}{line}\n")
        return 0

    def _delete(self, path: str, name: str) -> None:
        file = self._disk.path(path)
        self._disk.path(f"{path}-").write_text(file.read_text())
        file.write_text("".join(x for x in file.read_text().splitlines(True) if not x.startswith(f"{name}:")))

    def sysctl(self, name: str) -> str | None:
        return self.sysctls.get(name)

    def set_sysctl(self, name: str, value: str) -> None:
        self._fuse.burn(lambda: self.sysctls.update({name: value}))

    async def serves(self, path: str, seconds: float) -> bool:
        return True


class World:
    """A folder in place of a machine. ``restart``: another process of setup, which knows only what is on the disk."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in (*MACHINE.directories, "/var/lib", "/etc/awall", "/etc/iptables"):
            (root / folder[1:]).mkdir(parents=True, exist_ok=True)
        for path, file in {
            **{path: file.content.decode() for path, file in MACHINE.files.items()},
            **ACCOUNTS,
            "/etc/awall/base.json": "{}",
        }.items():
            (root / path[1:]).write_text(file)
        self.fuse = Fuse()
        self.disk = FusedDisk(root, self.fuse)
        self.machine = FakeMachine(self.disk, self.fuse)
        self.machine.rules()
        self.before = self.snapshot()

    def restart(self, left: int | None = None) -> None:
        self.fuse.left, self.fuse.effects = left, 0

    def snapshot(self) -> dict[str, tuple[bytes, int]]:
        return {
            str(file.relative_to(self.root)): (file.read_bytes(), stat.S_IMODE(file.stat().st_mode))
            for file in self.root.rglob("*")
            if file.is_file()
        }

    def system(self, journal: Journal) -> System:
        files = {path: found for path in ALL_PATHS if (found := self.disk.read(path))}
        parents = {str(parent) for path in (*ALL_PATHS, "/etc/dmvpn-agent/crl/x") for parent in Path(path).parents}
        accounts = {name: self.disk.path(f"/etc/{name}").read_text() for name in ("passwd", "group")}
        groups = {line.split(":")[0] for line in accounts["group"].splitlines()}
        users = {line.split(":")[0] for line in accounts["passwd"].splitlines()}
        return replace(
            MACHINE,
            files=files,
            firewall=Firewall(FirewallBy.AWALL),
            directories={path: mode for path in parents if (mode := self.disk.directory_mode(path)) is not None},
            groups=frozenset(groups),
            users=frozenset(users),
            memberships=frozenset(
                {("dmvpn-agent", "frrvty"), ("dmvpn-agent", "charon-vici")} if "dmvpn-agent" in users else ()
            ),
            services=replace(
                MACHINE.services, active=frozenset(self.machine.active), enabled=frozenset(self.machine.enabled)
            ),
            links=MACHINE.links | self.machine.links,
            sysctls=dict(self.machine.sysctls),
            frr_running=files["/etc/frr/frr.conf"].content.decode() if "frr" in self.machine.starts else None,
            digests=journal.digests,
            unfinished=journal.unfinished,
        )

    def plan(self) -> Plan:
        system = self.system(Journal(self.disk))
        node = choose(spoke_bundle(), system, ANSWERS).node
        assert node is not None
        return make_plan(node, spoke_bundle(), system)

    def set_up(self) -> Plan:
        plan = self.plan()
        applier = Applier(self.disk, Journal(self.disk), self.machine, Manager.SYSTEMD, lambda line: None)
        asyncio.run(applier.apply(plan))
        return plan

    def undo(self) -> list[str]:
        undo = Undo(self.disk, Journal(self.disk), self.machine, Manager.SYSTEMD, lambda line: None)
        asyncio.run(undo.undo())
        return undo.problems

    def is_as_before(self) -> bool:
        services = (self.machine.active, self.machine.enabled) == ({"strongswan", "frr"}, {"strongswan", "frr"})
        others = self.machine.sysctls["net/ipv4/ip_forward"] == "0" and "gre1" not in self.machine.links
        return self.snapshot() == self.before and services and others
