"""Which kernel the lab runs on: this one if it has GRE and ESP, else Debian's or Alpine's own in a VM (virtme-ng)."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from dmvpn_lab.namespace import CommandError, run

MODULES = (
    "ip_gre",
    "esp4",
    "xfrm_user",
    "nfnetlink_log",
    "nf_tables",
    "nft_log",
    "nft_limit",
    "nft_fib_inet",
    "veth",
    "bridge",
)
_PROBES = {
    "GRE": "ip link add probe type gre local 192.0.2.1 key 1",
    "ESP": "ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 256 mode transport reqid 1 "
    "aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128",
}
# The PID namespace ends with the process that started it, however that ends: no process in it survives.
_TIED = ("setpriv", "--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
_APART = (*_TIED, "--net", "--mount", "--")


def lacking() -> list[str]:
    """What this kernel does not offer; an empty list means the lab can run on it."""
    return [name for name, probe in _PROBES.items() if not _works("unshare", "--net", "sh", "-c", probe)]


def _works(*argv: str) -> bool:
    try:
        run(*argv)
    except CommandError:
        return False
    return True


def run_here(argv: Sequence[str]) -> int:
    """Run a command in its own namespaces, so that no process of it survives. Returns its status."""
    return subprocess.run([*_APART, *argv], check=False).returncode


def run_in_vm(argv: Sequence[str], result: Path, checkout: Path, seconds: float) -> int:
    """Run a command likewise in a VM on this file system, which it can write only in ``result``.

    Raises ``CommandError`` if there is no kernel for it, or no end after ``seconds``.
    """
    cached = ("/usr", sys.prefix, f"{checkout}/agent", f"{checkout}/deploy")
    handed = [f"{name}={os.environ[name]}" for name in ("PYTHONPATH", "CHARON") if name in os.environ]
    inside = [
        f"modprobe -a {' '.join(MODULES)}",
        # Programs are read from a second share that the guest may cache: each start costs a third of the time.
        "mkdir /run/cached",
        "mount -t 9p -o ro,version=9p2000.L,trans=virtio,msize=512000,cache=loose cached /run/cached",
        *(f"mount --bind /run/cached{folder} {folder}" for folder in map(shlex.quote, cached)),
        f"cd {shlex.quote(str(checkout))}",
        shlex.join(["env", *handed, *_APART, *argv]),
    ]
    programs = Path(sys.executable).parent
    share = "-fsdev local,id=cached,path=/,security_model=none,readonly=on,multidevs=remap"
    share += " -device virtio-9p-pci,fsdev=cached,mount_tag=cached"
    command = [
        *(*_TIED, "--", str(programs / "vng"), "-r", str(image()), "--disable-kvm", "--force-9p"),
        *("--cpus", str(os.cpu_count() or 2), "--memory", "3G", "--user", "root", f"--rwdir={result}"),
        *("--overlay-rwdir=/etc", "--overlay-rwdir=/var", f"--qemu-opts={share}", "--", "; ".join(inside)),
    ]
    # vng looks for its own programs on the PATH.
    environment = {**os.environ, "PATH": f"{programs}:{os.environ.get('PATH', '')}"}
    # qemu reopens its output, which would empty a file; it does not reopen a pipe.
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as relay:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=relay.stdin, stderr=relay.stdin, env=environment
        )
        try:
            return process.wait(seconds or None)
        except subprocess.TimeoutExpired:
            raise CommandError(f"the VM: no end after {seconds:.0f} s") from None
        finally:
            process.kill()


def image(boot: Path = Path("/boot"), modules: Path = Path("/lib/modules")) -> Path:
    """The newest kernel image that has its modules installed. Raises ``CommandError``."""
    images = [(release, file) for file in boot.glob("vmlinuz-*") if (release := _release(file, modules))]
    if not images:
        raise CommandError(
            f"no kernel for the VM: {boot} has no vmlinuz with modules in {modules}; run deploy/lab/setup.sh"
        )
    return max(images, key=lambda one: [int(number) for number in re.findall(r"\d+", one[0])])[1]


def _release(file: Path, modules: Path) -> str | None:
    """The release of an image with modules: Debian names the image by it, Alpine by its flavour (vmlinuz-virt)."""
    name = file.name.removeprefix("vmlinuz-")
    if (modules / name).is_dir():
        return name
    return max((folder.name for folder in modules.glob(f"[0-9]*-{name}")), default=None)
