"""Clients that were not written here enrol and renew: curl with OpenSSL, and strongSwan's pki."""

import base64
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dmvpn_agent.ca.settings import ResourcesIn, Settings
from enrolling import EST, World, serving

pytestmark = pytest.mark.contract

CHECKOUT = Path(__file__).parents[3]
PLUGINS = Path("/usr/lib/ipsec/plugins")
#: strongSwan's plugin `curl`, which pki needs; set-up puts it there, because installing it gives charon more plugins.
CURL_PLUGIN = CHECKOUT / ".venv/strongswan-extra/usr/lib/ipsec/plugins/libstrongswan-curl.so"
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here")
needs_pki = pytest.mark.skipif(
    shutil.which("pki") is None
    or not (CURL_PLUGIN.exists() or (PLUGINS / CURL_PLUGIN.name).exists())
    or os.geteuid() != 0,
    reason="no pki of strongSwan with the plugin curl here",
)


@pytest.fixture(params=list(ResourcesIn))
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    with serving(tmp_path, Settings(resources_in=request.param), scep=True, new={"with_issuing": True}) as found:
        (tmp_path / "root.pem").write_text(found.roots)
        yield found


def run(world: World, *words: str, output: str = "") -> str:
    """Run a program in the world's folder; ``output``: the file that its output goes to."""
    done = subprocess.run(words, capture_output=True, check=False, cwd=world.folder)
    assert done.returncode == 0, done.stderr.decode()
    if output:
        (world.folder / output).write_bytes(done.stdout)
    return done.stdout.decode("latin-1")


def pki(world: World, *words: str, output: str = "") -> str:
    """Run pki; if its plugin is not installed, with the plugins in a mount namespace of its own."""
    if (PLUGINS / CURL_PLUGIN.name).exists():
        return run(world, "pki", *words, output=output)
    script = (
        'mount -t tmpfs none /mnt && cp -a "$1" /mnt/all && cp "$2" /mnt/all && mount --bind /mnt/all "$1"'
        ' && shift 2 && exec pki "$@"'
    )
    return run(
        world, "unshare", "-m", "sh", "-c", script, "sh", str(PLUGINS), str(CURL_PLUGIN), *words, output=output
    )


def subject(world: World, file: str) -> str:
    return run(world, "openssl", "x509", "-in", file, "-noout", "-subject", "-nameopt", "rfc2253").strip()


@needs_curl
def test_curl_and_openssl(world: World) -> None:
    """Enrol by the token, renew by the certificate, verify the chain."""
    url = f"https://{world.settings.https}{EST}"
    token = world.node().token()
    run(world, "openssl", "ecparam", "-name", "secp384r1", "-genkey", "-noout", "-out", "key.pem")
    run(world, "openssl", "req", "-new", "-key", "key.pem", "-subj", "/CN=FIN-1", "-outform", "DER", "-out", "der")
    (world.folder / "request").write_bytes(base64.encodebytes((world.folder / "der").read_bytes()))
    common = ("curl", "-sSf", "--cacert", "root.pem", "-H", "Content-Type: application/pkcs10", "--data-binary",
              "@request", "-H", "Expect: 100-continue")  # fmt: skip
    for number, how in enumerate((("--user", f"FIN-1:{token}"), ("--cert", "0.pem", "--key", "key.pem"))):
        path = "simplereenroll" if number else "simpleenroll"
        answer = run(world, *common, *how, f"{url}/{path}")
        (world.folder / "p7").write_bytes(base64.b64decode(answer))
        run(world, "openssl", "pkcs7", "-inform", "DER", "-in", "p7", "-print_certs", "-out", f"{number}.pem")
        assert subject(world, f"{number}.pem").startswith("subject=CN=FIN-1")
    run(world, "curl", "-sSf", "-o", "chain.pem", f"http://{world.settings.http}/ca.pem")
    run(world, "curl", "-sSf", "-o", "crl", f"http://{world.settings.http}/dmvpn-ca.crl")
    run(world, "openssl", "crl", "-inform", "DER", "-in", "crl", "-CAfile", "chain.pem", "-noout")


@needs_pki
def test_est_of_strongswan(world: World) -> None:
    """``pki --estca``, and ``pki --est`` with token and with certificate."""
    url = f"https://{world.settings.https}"
    pki(world, "--estca", "--url", url, "--cacert", "root.pem", "--caout", "ca.pem", "--outform", "pem")
    pki(world, "--gen", "--type", "ecdsa", "--size", "384", "--outform", "pem", output="key.pem")
    pki(world, "--req", "--type", "ecdsa", "--in", "key.pem", "--dn", "CN=FIN-1", output="der")
    common = ("--est", "--url", url, "--cacert", "root.pem", "--in", "der", "--outform", "pem")
    pki(world, *common, "--userpass", f"FIN-1:{world.node().token()}", output="0.pem")
    pki(world, *common, "--cert", "0.pem", "--key", "key.pem", output="1.pem")
    for file in ("0.pem", "1.pem"):
        assert subject(world, file).startswith("subject=CN=FIN-1")


@needs_pki
def test_scep_of_strongswan(world: World) -> None:
    """``pki --scepca``, and ``pki --scep`` with token and with certificate."""
    url = f"http://{world.settings.http}/scep"
    pki(world, "--scepca", "--url", url, "--caout", "ca.pem", "--raout", "ra.pem", "--outform", "pem")
    authorities = [word for file in sorted(world.folder.glob("ca*.pem")) for word in ("--cacert", file.name)]
    common = ("--scep", "--url", url, "--dn", "CN=FIN-1", "--cacert-enc", "ra.pem", "--cacert-sig", "ra.pem",
              "--outform", "pem", *authorities)  # fmt: skip
    for name in ("key.pem", "new.pem"):
        pki(world, "--gen", "--type", "rsa", "--size", "3072", "--outform", "pem", output=name)
    pki(world, *common, "--in", "key.pem", "--password", world.node().token(), output="0.pem")
    pki(world, *common, "--in", "new.pem", "--cert", "0.pem", "--key", "key.pem", output="1.pem")
    for file in ("0.pem", "1.pem"):
        assert subject(world, file).startswith("subject=CN=FIN-1")
