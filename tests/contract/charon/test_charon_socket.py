"""charon's VICI socket with the shipped strongswan.conf: a user who can open it controls IPsec, and nothing more."""

import asyncio
import grp
import shutil
from pathlib import Path
from ssl import DER_cert_to_PEM_cert

import pytest

from contract.charon_pair import Side
from contract.charons import PLUGINS, RealCharon, connection, needs_charon
from dmvpn_lab.namespace import CommandError, Namespace
from fakes.waiting import until

pytestmark = [pytest.mark.contract, needs_charon()]

SWANCTL = Path(__file__).parents[3] / "swanctl"
SHIPPED = {"bridged": "/run/charon.real.vici", "native": "/run/charon.vici"}
GROUP, NUMBER = "charon-vici", 64343
NOBODY = 65534
#: Each plugin has its own setting, as in distributions: otherwise none could be switched off.
MODULAR = """
charon {{
    load_modular = yes
    install_routes = no
    plugins {{
        {plugins}
        vici {{ socket = unix:///run/charon.vici }}
    }}
}}
{include}
"""


def _configure(charon: RealCharon, mode: str | None, *plugins: str) -> None:
    """Configure charon as Debian does, add the shipped file of a mode, and create the group."""
    names = (*PLUGINS.split(), *plugins, "socket-default", "vici", "updown")
    charon._conf.write_text(
        MODULAR.format(
            plugins="\n        ".join(f"{name} {{ load = yes }}" for name in names),
            include=f"include {SWANCTL}/strongswan-{mode}.conf" if mode else "",
        )
    )
    charon.space = Namespace(charon.space.name, private=("/etc",), empty=("/run",))
    charon.make_space()
    groups = charon.space.path("/etc/group")
    others = [line for line in groups.read_text().splitlines() if not line.startswith(f"{GROUP}:")]
    groups.write_text("\n".join((*others, f"{GROUP}:x:{NUMBER}:", "")))
    charon.path = charon.space.path(SHIPPED[mode] if mode else "/run/charon.vici")


def _opens(charon: RealCharon, socket: str, group: int) -> bool:
    """Tell whether a user whose only group is this one may run ``swanctl --stats``."""
    user = ("setpriv", f"--reuid={NOBODY}", f"--regid={group}", "--clear-groups")
    try:
        charon.space.run(*user, "swanctl", "--stats", "--uri", f"unix://{socket}")
    except CommandError:
        return False
    return True


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv")
@pytest.mark.parametrize("mode", SHIPPED)
async def test_only_the_sockets_own_group_can_open_it(mode: str, tmp_path: Path) -> None:
    """The group frrvty cannot: every daemon of FRR and every user of vtysh is in it."""
    charon = RealCharon(tmp_path)
    _configure(charon, mode, "kernel-netlink")
    try:
        await charon.start()
        await until(lambda: charon.path.stat().st_gid == NUMBER)  # charon changes the group after it has bound
        assert _opens(charon, SHIPPED[mode], NUMBER)
        assert not _opens(charon, SHIPPED[mode], grp.getgrnam("frrvty").gr_gid)
        assert not _opens(charon, SHIPPED[mode], NOBODY)
        plugins = (await charon.ask("stats", {}))["plugins"]
        assert b"vici" in plugins
        assert b"updown" not in plugins
    finally:
        charon.stop()


@needs_charon(sas=True)
@pytest.mark.parametrize(("mode", "ran"), [(None, True), ("bridged", False), ("native", False)])
async def test_no_command_can_be_run_through_the_socket(mode: str | None, ran: bool, tmp_path: Path) -> None:
    """With Debian's plugins charon runs a connection's updown script as root; with the shipped files it does not."""
    one, other = sides = tuple(Side(tmp_path, number, make_before_break=True) for number in (1, 2))
    try:
        _configure(one, mode, "kernel-libipsec", "kernel-netlink")
        one.link(other)
        for side in sides:
            await side.start()
        for side, peer in ((one, other), (other, one)):
            await side.load(peer)
        own = {"certs": [DER_cert_to_PEM_cert(one.certificate)]}
        evil = connection(own, one.host, other.host, f"{one.inner}/32", f"{other.inner}/32")
        evil["children"]["dmvpn"]["updown"] = f"id -u > {tmp_path}/ran"
        await one.ask("load-conn", {"dmvpn": evil})
        await one.ask("initiate", {"child": "dmvpn", "timeout": "-1"})
        async with asyncio.timeout(30):
            while not any(child.installed for sa in await one.sas() for child in sa.children):
                await asyncio.sleep(0.01)
        if ran:
            await until(lambda: (tmp_path / "ran").exists() and (tmp_path / "ran").read_text() == "0\n")
        else:
            assert not (tmp_path / "ran").exists()
    finally:
        for side in sides:
            side.stop()
