"""README, step 1, and docs/by-hand.md: their commands, run as written, make a node whose configuration is accepted.

A shell runs the README's text. Paths are redirected into a folder that has what the distribution's packages install.
Commands that change the machine (packages, users, services, interfaces) are only recorded.
"""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from dmvpn_agent.config.file import load
from dmvpn_lab import CHECKOUT

#: The words above a block of commands that limit it to one distribution or role.
_ONLY = re.compile(r"on (?:an? )?(Debian|Alpine|hub|spoke)\b", re.IGNORECASE)
#: The folders that the packages of step 1 make, on Debian 12 and 13; Alpine's dmvpn-agent also makes its own.
_PACKAGED = (
    "etc/network",
    "etc/frr",
    "etc/strongswan.d",
    "etc/swanctl/conf.d",
    "etc/swanctl/x509",
    "etc/swanctl/x509ca",
    "etc/swanctl/private",
    "etc/apparmor.d/local",
    "etc/sysctl.d",
    "etc/systemd/system",
    "usr/local/bin",
    "opt",
)
_DAEMONS = "bgpd=no\nospfd=no\nnhrpd=no\nvtysh_enable=yes\n"
_PACKAGES = ("apt", "apk", "abuild", "abuild-keygen", "make", "python3", "pip")
_SERVICES = ("systemctl", "rc-update", "rc-service", "ifup", "sysctl", "dmvpn-agent")
_RECORDED = (*_PACKAGES, *_SERVICES, "addgroup", "adduser")
_SYSTEMS = ("debian", "alpine")
_ROLES = ("hub", "spoke")
#: Files to append to a hub's frr.conf, and values for all placeholders.
_FRAGMENTS = ("other-hub.conf", "second-tunnel.conf", "hub-ipv6.conf")
_ANY_VALUE = {
    "@[A-Z_]*NETWORK_IPV6@": "2001:db8:1::/48",
    "@[A-Z_]*NETWORK@": "10.9.0.0/24",
    "@[A-Z_]*ADDRESS@": "10.9.0.1",
    "@AS_NUMBER@": "65000",
}
_AUTHORITIES = ("guide", "dmvpn-ca")


@dataclass(frozen=True, slots=True)
class Block:
    """Commands of the README. ``only``: the distribution or role they are for, in lower case; empty for all."""

    only: str
    commands: str


def blocks() -> list[Block]:
    """Return the blocks of the install steps in order. The line above a block may limit it to a system or role."""
    install = (CHECKOUT / "README.md").read_text().split("## Put it on a node\n")[1].split("\n### 2.")[0]
    section = f"{install}\n{(CHECKOUT / 'docs/by-hand.md').read_text()}"
    found = []
    for before, commands in re.findall(r"([^\n]*)\n\n```sh\n(.*?)```\n", section, re.DOTALL):
        only = _ONLY.findall(before)
        found.append(Block(only[-1].lower() if only else "", commands))
    assert section.count("```sh") == len(found)
    return found


@dataclass(frozen=True, slots=True)
class Installed:
    """A node after the steps: the folder in place of ``/``, and the recorded commands."""

    root: Path
    calls: list[str]

    def text(self, path: str) -> str:
        return (self.root / path).read_text()


def _follow(system: str, role: str, authority: str, folder: Path) -> Installed:
    root, checkout, programs = folder / "root", folder / "checkout", folder / "programs"
    for packaged in _PACKAGED:
        (root / packaged).mkdir(parents=True)
    (root / "etc/frr/daemons").write_text(_DAEMONS)
    (root / "etc/network/interfaces").write_text("auto lo\n")
    (root / "etc/apparmor.d/local/usr.sbin.swanctl").touch()
    for shipped in ("deploy", "frr", "swanctl"):
        shutil.copytree(CHECKOUT / shipped, checkout / shipped)
    for own in ("ca.pem", "node.pem", "node.key"):
        (checkout / own).touch()
    if system == "alpine":
        (root / "etc/dmvpn-agent/crl").mkdir(parents=True)
    (checkout / "dist").mkdir()
    programs.mkdir()
    log = folder / "calls"
    for name in _RECORDED:
        (programs / name).write_text(f'#!/bin/sh\necho "{name} $*" >>{log}\n')
        (programs / name).chmod(0o755)
    others = {"debian": "alpine", "alpine": "debian", "hub": "spoke", "spoke": "hub"}
    steps = [block.commands for block in blocks() if block.only not in (others[system], others[role])]
    if authority == "dmvpn-ca":
        (instead,) = re.findall(r"```sh\n(.*?)```\n", (CHECKOUT / "docs/dmvpn-ca.md").read_text(), re.DOTALL)
        filled_in = next(number for number, commands in enumerate(steps) if "sed -f node.sed frr/" in commands)
        steps.insert(filled_in + 1, instead)
    text = "".join(steps)
    text = re.sub(r"(?<![\w.$])/(etc|opt|usr)/", rf"{root}/\1/", text).replace(
        f"{root}/opt/dmvpn-agent/bin/pip", "pip"
    )
    done = subprocess.run(
        ["sh", "-eu"],
        input=text,
        cwd=checkout,
        env={"PATH": f"{programs}:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    return Installed(root, log.read_text().splitlines())


@pytest.fixture(
    scope="module",
    params=[(system, role, authority) for system in _SYSTEMS for role in _ROLES for authority in _AUTHORITIES],
    ids="-".join,
)
def installed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Run the steps; the shell ends at the first missing file or folder."""
    system, role, authority = request.param
    return _follow(system, role, authority, tmp_path_factory.mktemp(f"{system}-{role}"))


def test_no_placeholder_is_left(installed: Installed) -> None:
    """No installed file has a placeholder, in comments either."""
    written = [path for path in installed.root.rglob("*") if path.is_file()]
    assert {path.name: found for path in written if (found := re.findall(r"@[A-Z0-9_]+@", path.read_text()))} == {}


def test_the_agent_accepts_its_configuration(installed: Installed) -> None:
    """The configuration is valid, and each path that it names exists."""
    config = load(installed.root / "etc/dmvpn-agent/agent.toml")
    assert config.role in _ROLES
    for crls in config.trust_files.crls:
        assert (installed.root / crls.relative_to("/")).is_dir()
    for authorities in config.trust_files.authorities:
        assert (installed.root / authorities.relative_to("/") / "ca.pem").exists()


def _check_by_vtysh(config: str, folder: Path) -> None:
    (folder / "vtysh.conf").touch()
    (folder / "frr.conf").write_text(config)
    done = subprocess.run(
        ["vtysh", "--config_dir", folder, "-C"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("vtysh") is None, reason="FRR is not installed")
@pytest.mark.parametrize("fragments", [(), *_FRAGMENTS, _FRAGMENTS], ids=str)
def test_frr_accepts_what_is_appended(fragments: tuple[str, ...], tmp_path: Path) -> None:
    """vtysh accepts frr.conf with each of the files to append, and with all of them."""
    files = ["hub.conf", *([fragments] if isinstance(fragments, str) else fragments)]
    text = "".join((CHECKOUT / "frr" / file).read_text() for file in files)
    for name, value in _ANY_VALUE.items():
        text = re.sub(name, value, text)
    _check_by_vtysh(text, tmp_path)


@pytest.mark.skipif(shutil.which("vtysh") is None, reason="FRR is not installed")
def test_frr_accepts_its_configuration(installed: Installed, tmp_path: Path) -> None:
    """vtysh accepts every line of frr.conf, and the daemons that it needs are enabled."""
    _check_by_vtysh(installed.text("etc/frr/frr.conf"), tmp_path)
    assert installed.text("etc/frr/daemons") == _DAEMONS.replace("bgpd=no", "bgpd=yes").replace(
        "nhrpd=no", "nhrpd=yes"
    )


def test_agent_and_charon_agree_on_the_socket_and_its_group(installed: Installed) -> None:
    """Agent and charon use the same socket, and its group exists before charon starts."""
    (config,) = (installed.root / "etc/strongswan.d").glob("dmvpn-[bn]*.conf")
    named = re.findall(r"^\s+socket = unix://(\S+)$", config.read_text(), re.MULTILINE)
    assert set(named or ["/run/charon.vici"]) == {
        str(load(installed.root / "etc/dmvpn-agent/agent.toml").ike.vici_socket)
    }
    (group,) = re.findall(r"^ *group = (\S+)$", config.read_text(), re.MULTILINE)
    if "bridged" in config.name:
        assert f"addgroup --system {group}" in installed.calls
        assert f"adduser dmvpn-agent {group}" in installed.calls


def test_key_and_certificates_are_where_the_connection_expects_them(installed: Installed) -> None:
    """Only the owner can read the key; every user can read the CA's certificate."""
    swanctl = installed.root / "etc/swanctl"
    (certificate,) = re.findall(r"certs = (\S+)", (swanctl / "conf.d/dmvpn.conf").read_text())
    assert (swanctl / "x509" / certificate).exists()
    assert (swanctl / "private" / certificate).stat().st_mode & 0o777 == 0o600
    assert (swanctl / "x509ca/ca.pem").stat().st_mode & 0o777 == 0o644


def test_services_are_restarted_in_the_order_that_works(installed: Installed) -> None:
    """``check`` runs first, charon starts before the bridge, and nhrpd after bridge and agent."""
    started = [call for call in installed.calls if call.split()[0] in ("systemctl", "rc-service", "dmvpn-agent")]
    debian = [
        "dmvpn-agent check",
        "systemctl daemon-reload",
        "systemctl --quiet is-active apparmor",
        "systemctl reload apparmor",
        "systemctl restart strongswan",
        "systemctl enable dmvpn-bridge dmvpn-agent",
        "systemctl restart dmvpn-bridge dmvpn-agent",
        "systemctl restart frr",
    ]
    alpine = ["dmvpn-agent check", *(f"rc-service {name} restart" for name in ("charon", "dmvpn-agent", "frr"))]
    assert started[:-2] in (debian, alpine)
    assert started[-2:] == ["dmvpn-agent doctor", "dmvpn-agent status"]


def test_the_tunnel_is_the_one_in_the_configuration_of_frr_and_the_agent(installed: Installed) -> None:
    """The interfaces file, frr.conf and agent.toml name the same interface."""
    text = installed.text("etc/network/interfaces.d/gre1")
    assert set(re.findall(r"\bgre1\b", text)) == {"gre1"}
    assert "interface gre1\n" in installed.text("etc/frr/frr.conf")
    assert list(load(installed.root / "etc/dmvpn-agent/agent.toml").interfaces) == ["gre1"]


def test_every_shipped_file_is_documented() -> None:
    """The README or a document names each file of frr/ and swanctl/."""
    files = [CHECKOUT / "README.md", *(CHECKOUT / "docs").glob("*.md"), *CHECKOUT.glob("[ds]*/README.md")]
    texts = "".join(file.read_text() for file in files).replace("$role", "hub")
    names = [path.name for folder in ("frr", "swanctl") for path in (CHECKOUT / folder).glob("*.conf")]
    assert [name for name in names if name not in texts] == []
