"""The programs that read the installed files accept them."""

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from dmvpn_lab.node import VICI_GROUP

URL = "https://dmvpn.test/agent"
CHARON_PROFILES = ("usr.lib.ipsec.charon", "usr.sbin.charon-systemd")
TESTS = Path(__file__).parents[2]
DEPLOY = TESTS.parent / "deploy"
SCRIPTS = sorted(
    [*DEPLOY.glob("openrc/*"), *DEPLOY.glob("apk/*"), *DEPLOY.glob("ca/*.periodic"), *DEPLOY.glob("ca/*.*d")]
)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_posix_shell_reads_the_script(script: Path) -> None:
    """Init scripts, their settings and the package recipe are POSIX shell, which BusyBox runs."""
    done = subprocess.run(["sh", "-n", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_reports_nothing(script: Path) -> None:
    """shellcheck reports nothing."""
    done = subprocess.run(["shellcheck", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("service", ["dmvpn-agent", "dmvpn-bridge"])
def test_openrc_and_systemd_grant_the_same_capability(service: str) -> None:
    """OpenRC and systemd start a service with the same single capability."""
    script = (DEPLOY / f"openrc/{service}.initd").read_text()
    unit = (DEPLOY / f"systemd/{service}.service").read_text().splitlines()
    openrc = script.split('capabilities="^')[1].split('"')[0].upper()
    assert f"AmbientCapabilities={openrc}" in unit
    assert f"CapabilityBoundingSet={openrc}" in unit


def test_the_cas_services_have_a_user_of_their_own() -> None:
    """systemd and OpenRC start them as the user that the package and the documents make; no unit runs as root."""
    for unit in ("dmvpn-ca", "dmvpn-ca-crl"):
        lines = (DEPLOY / f"ca/{unit}.service").read_text().splitlines()
        assert "User=dmvpn-ca" in lines
        assert [line for line in lines if line.startswith("CapabilityBoundingSet=CAP")] in (
            [], ["CapabilityBoundingSet=CAP_NET_BIND_SERVICE"]
        )  # fmt: skip
    assert '"${command_user:=dmvpn-ca:dmvpn-ca}"' in (DEPLOY / "ca/dmvpn-ca.initd").read_text()
    assert "\nadduser -S -D -H -h /var/lib/dmvpn-ca " in (DEPLOY / "apk/dmvpn-agent.pre-install").read_text()
    assert "dmvpn-ca" in (DEPLOY / "apk/APKBUILD").read_text().split('pkgusers="')[1].split('"')[0].split()
    assert (
        "\nadduser --system --group --no-create-home --home /var/lib/dmvpn-ca dmvpn-ca "
        in (DEPLOY.parent / "docs/ca.md").read_text()
    )


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("unit", ["dmvpn-ca", "dmvpn-ca-crl"])
def test_systemd_rates_the_cas_units_as_closed(unit: str) -> None:
    """Exposure below 2.0 (`systemd-analyze security`; what is left is the network, and the host's file system)."""
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=20", DEPLOY / f"ca/{unit}.service"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


BOOT = """\
[Unit]
Wants=network.target network-online.target frr.service {strongswan} dmvpn-agent.service dmvpn-bridge.service
Wants=dmvpn-ca-crl.service dmvpn-ca-crl.timer dmvpn-ca.service
"""


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("strongswan", ["strongswan.service", "strongswan-starter.service"])
@pytest.mark.parametrize("debian", ["debian-12", "debian-13"])
def test_systemd_has_an_order_for_all_units(debian: str, strongswan: str, tmp_path: Path) -> None:
    """Debian's units and these have no ordering cycle, which systemd would break by dropping a unit."""
    for unit in (
        *(TESTS / "data" / debian).glob("*.service"),
        *DEPLOY.glob("systemd/*.service"),
        *DEPLOY.glob("ca/*.[st]*"),
    ):
        shutil.copy(unit, tmp_path)
    boot = tmp_path / "boot.target"
    boot.write_text(BOOT.format(strongswan=strongswan))
    environment = {**os.environ, "SYSTEMD_LOG_TARGET": "console", "SYSTEMD_UNIT_PATH": f"{tmp_path}:"}
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--generators=no", boot],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert "ordering cycle" not in done.stderr, done.stderr
    # The programs themselves need not be installed here.
    assert [line for line in done.stderr.splitlines() if "dmvpn" in line and "is not executable" not in line] == []


@pytest.mark.parametrize("service", ["dmvpn-agent", "dmvpn-bridge"])
def test_frr_is_started_after_the_socket_is_served(service: str) -> None:
    """systemd waits for the process to notify it; OpenRC waits for the socket."""
    assert "Type=notify" in (DEPLOY / f"systemd/{service}.service").read_text().splitlines()
    assert "start_post() {" in (DEPLOY / f"openrc/{service}.initd").read_text().splitlines()


@pytest.mark.parametrize(
    ("settings", "made"),
    [("", []), ("control_directory=/run/control", ["2750 dmvpn-agent:dmvpn-page /run/control"])],
)
def test_openrc_gives_the_control_socket_a_group_of_its_own(settings: str, made: list[str]) -> None:
    """If that is set: the page then needs no group of FRR, and by the package its user has none."""
    script = DEPLOY / "openrc/dmvpn-agent.initd"
    stubs = 'checkconfig() { :; }; checkpath() { echo "$5 $3 $6"; }'
    done = subprocess.run(
        ["sh", "-ec", f"{settings}\n. {script}\n{stubs}\nstart_pre"], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        "2750 dmvpn-agent:frrvty /run/dmvpn-agent",
        *made,
        "0700 dmvpn-agent:frrvty /var/lib/dmvpn-agent",
    ]
    assert "addgroup dmvpn-page " not in (DEPLOY / "apk/dmvpn-agent.pre-install").read_text()


@pytest.mark.parametrize("service", ["dmvpn-agent", "dmvpn-bridge"])
def test_a_reload_checks_the_configuration_and_writes_nothing_to_the_journal(service: str, tmp_path: Path) -> None:
    """A reload discards the output of `check`, and keeps its exit status and errors."""
    (check, _) = re.findall(r"^ExecReload=(.*)$", (DEPLOY / f"systemd/{service}.service").read_text(), re.M)
    program = tmp_path / "dmvpn-agent"
    program.write_text("#!/bin/sh\necho the whole configuration; echo an error >&2; exit 78\n")
    program.chmod(0o755)
    done = subprocess.run(
        shlex.split(check), env={"PATH": f"{tmp_path}:/bin"}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (78, "", "an error\n")


@pytest.mark.parametrize("debian", ["debian-12", "debian-13"])
def test_apparmor_lets_charon_make_its_socket_and_swanctl_open_it(debian: str) -> None:
    """charon may by Debian's own profiles; swanctl by the line that deploy/apparmor adds."""
    (socket,) = set(re.findall(r"unix://(\S+)", (DEPLOY.parent / "swanctl/strongswan-bridged.conf").read_text()))
    allowed: dict[str, list[str]] = {profile: [] for profile in (*CHARON_PROFILES, "usr.sbin.swanctl")}
    for line in (TESTS / "data" / debian / "apparmor-sockets.txt").read_text().splitlines():
        profile, path, _ = line.split()
        allowed[profile.removesuffix(":")].append(path)
    ours = (DEPLOY / "apparmor/usr.sbin.swanctl").read_text().splitlines()
    allowed["usr.sbin.swanctl"] += [line.split()[0] for line in ours if not line.startswith("#")]
    for profile, patterns in allowed.items():
        # In AppArmor a star matches any number of characters except a slash.
        rules = [re.escape(pattern).replace(r"\*", "[^/]*") for pattern in patterns]
        assert any(re.fullmatch(rule, socket) for rule in rules), profile
    hub = (DEPLOY / "agent.hub.toml").read_text()
    assert f'vici_socket = "{socket}"' in hub


@pytest.mark.parametrize("mode", ["bridged", "native"])
def test_the_package_makes_the_group_of_charons_socket(mode: str) -> None:
    """The package makes the group, without which charon does not start, and makes the agent a member."""
    (group,) = re.findall(r"^ *group = (\S+)$", (DEPLOY.parent / f"swanctl/strongswan-{mode}.conf").read_text(), re.M)
    assert group not in {"frrvty", "frr", "dmvpn-agent"}
    install = (DEPLOY / "apk/dmvpn-agent.pre-install").read_text()
    assert f"\naddgroup -S {group} " in install
    assert f"\naddgroup dmvpn-agent {group} " in install
    assert group in (DEPLOY / "apk/APKBUILD").read_text().split('pkggroups="')[1].split('"')[0].split()
    assert f"adduser dmvpn-agent {group}\n" in (DEPLOY.parent / "docs/by-hand.md").read_text()
    assert VICI_GROUP[0] == group


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A clone of this checkout, with the changes of the recipe committed."""
    if shutil.which("git") is None or not (TESTS.parent / ".git").exists():
        pytest.skip("needs git and a checkout")
    clone = tmp_path / "checkout"
    _git(tmp_path, "clone", "--quiet", "--no-hardlinks", str(TESTS.parent), str(clone))
    shutil.copytree(DEPLOY / "apk", clone / "deploy/apk", dirs_exist_ok=True)
    _git(clone, "add", ".")
    _git(clone, "commit", "--quiet", "--allow-empty", "--message", "as it is")
    return clone


def _git(folder: Path, *words: str) -> None:
    who = ("-c", "user.name=A Tester", "-c", "user.email=tester@dmvpn.test", "-c", "safe.directory=*")
    subprocess.run(["git", *who, *words], cwd=folder, check=True)


def _dist(checkout: Path, folder: Path, url: str = URL) -> subprocess.CompletedProcess[str]:
    argv: list[str | Path] = ["sh", checkout / "deploy/apk/dist.sh", folder, url, "A Tester <tester@dmvpn.test>"]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def test_the_alpine_recipe_fits_the_tarball_of_the_release(checkout: Path, tmp_path: Path) -> None:
    """The recipe has the tarball's checksum, the tarball has all sources, and one commit gives one tarball."""
    assert _dist(checkout, tmp_path / "one").returncode == 0
    recipe = (tmp_path / "one/APKBUILD").read_text()
    (tarball,) = (tmp_path / "one").glob("*.tar.gz")
    assert f"{hashlib.sha512(tarball.read_bytes()).hexdigest()}  {tarball.name}\n" in recipe
    assert f'\nurl="{URL}"\n' in recipe
    assert recipe.startswith("# Maintainer: A Tester <tester@dmvpn.test>\n")
    with tarfile.open(tarball) as archive:
        names = archive.getnames()
    top = tarball.name.removesuffix(".tar.gz")
    for needed in ("pyproject.toml", "tests/unit/kernel/test_nft.py", "deploy/openrc/dmvpn-agent.initd"):
        assert f"{top}/{needed}" in names
    assert _dist(checkout, tmp_path / "two").returncode == 0
    assert (tmp_path / "two" / tarball.name).read_bytes() == tarball.read_bytes()


def test_a_release_needs_a_clean_checkout_and_an_address(checkout: Path, tmp_path: Path) -> None:
    """`dist` names what is missing, and writes nothing."""
    done = _dist(checkout, tmp_path / "dist", url="/somewhere")
    assert (done.returncode, "make dist URL=" in done.stderr) == (1, True)
    (checkout / "README.md").write_text("changed")
    done = _dist(checkout, tmp_path / "dist")
    assert (done.returncode, "not committed" in done.stderr) == (1, True)
    assert not (tmp_path / "dist").exists()
