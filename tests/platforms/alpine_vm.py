"""The Alpine root as a virtual machine: its own kernel, with GRE and ESP, its own init, and the lab on it."""

import shutil
from pathlib import Path

from platforms.room import Room, RoomError, outside

_MEGABYTES = 1500
#: An emulated machine that is slow, on a host that is busy.
_SECONDS = 1500
_RUNLEVELS = "etc/runlevels"


def run(room: Room, kernel: Path, initrd: Path, log: Path) -> int:
    """Boot a copy of the root, and run the lab's scenario ``alpine`` in it; return the lab's exit status.

    ``log`` gets what the lab prints; the console is beside it. Raises ``RoomError``.
    """
    work = log.parent / "vm"
    shutil.rmtree(work, ignore_errors=True)
    share = work / "share"
    share.mkdir(parents=True)
    _settle(room.root)
    image = work / "disk.img"
    outside(["mke2fs", "-q", "-t", "ext4", "-d", str(room.root), str(image), f"{_MEGABYTES}M"], log)
    outside(["timeout", str(_SECONDS), *_qemu(image, share, kernel, initrd)], work / "console.log")
    image.unlink()
    found = share / "lab.log"
    log.write_text(found.read_text(errors="replace") if found.exists() else "the VM did not come to the lab\n")
    status = share / "status"
    if not status.exists():
        raise RoomError(f"the VM ended without a result; see {work / 'console.log'}")
    return int(status.read_text())


def _settle(root: Path) -> None:
    """Have the machine start nothing but the lab: the services of the hub are the node's."""
    for service in (root / _RUNLEVELS / "default").glob("dmvpn-*"):
        service.unlink()
    devices = root / _RUNLEVELS / "sysinit/devfs"
    if not devices.is_symlink():
        devices.symlink_to("/etc/init.d/devfs")
    settings = root / "etc/rc.conf"
    settings.write_text(settings.read_text().replace('rc_sys="lxc"', 'rc_sys=""'))
    start = root / "etc/local.d/services.start"
    shutil.copy(Path(__file__).with_name("alpine_lab.sh"), start)
    start.chmod(0o755)


def _qemu(image: Path, share: Path, kernel: Path, initrd: Path) -> list[str]:
    start = "root=/dev/vda rootfstype=ext4 rw modules=ext4,virtio_blk,virtio_pci console=ttyS0 panic=1 quiet"
    return [
        *("qemu-system-x86_64", "-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2"),
        *("-m", "1536", "-nographic", "-no-reboot", "-vga", "none", "-nodefaults", "-nic", "none"),
        *("-kernel", str(kernel), "-initrd", str(initrd), "-append", start, "-serial", "mon:stdio"),
        *("-drive", f"file={image},format=raw,if=virtio,cache=unsafe"),
        *("-fsdev", f"local,id=s,path={share},security_model=none"),
        *("-device", "virtio-9p-pci,fsdev=s,mount_tag=share"),
        *("-fsdev", "local,id=h,path=/,security_model=none,readonly=on,multidevs=remap"),
        *("-device", "virtio-9p-pci,fsdev=h,mount_tag=host"),
    ]
