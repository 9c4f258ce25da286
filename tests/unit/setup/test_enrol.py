"""A node that enrolled: what setup writes for it, and what it refuses before it asks."""

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cryptography import x509

from bundles import guide, pfx
from dmvpn_agent.config.file import read_config
from dmvpn_agent.renewal.identity import swanctl_identity
from dmvpn_agent.setup.bundle import Bundle, Enrolled, read_bundle
from dmvpn_agent.setup.choose import choose
from dmvpn_agent.setup.enrol import Enrolment
from dmvpn_agent.setup.paths import AGENT_TOML, CERTIFICATE, CONNECTIONS, EST_CA, KEY, RENEW_TIMER
from dmvpn_agent.setup.plan import Restart, make_plan
from dmvpn_agent.setup.refusal import Refused
from dmvpn_agent.setup.system import File, Manager, Services
from guide_ca import Authority
from nodes import ANSWERS, MACHINE, spoke_bundle

SERVER = "https://ca.example.com:8443/label"


def enrolled(authorities: bytes = b"") -> Bundle:
    return replace(spoke_bundle(), enrolled=Enrolled(SERVER, authorities))


def written(bundle: Bundle, files: Mapping[str, File] | None = None) -> dict[str, bytes]:
    machine = replace(MACHINE, files={**MACHINE.files, **(files or {})})
    node = choose(bundle, machine, ANSWERS).node
    assert node is not None
    return {step.path: step.content for step in make_plan(node, bundle, machine).files if step.content is not None}


def test_renewal_is_switched_on() -> None:
    """In agent.toml, in swanctl's connection, which names the node and no certificate, and by a timer."""
    bundle = enrolled()
    files = written(bundle)
    renewal = read_config(tomllib.loads(files[AGENT_TOML].decode())).renewal
    assert str(renewal.server) == SERVER
    own = x509.load_pem_x509_certificate(bundle.certificate_pem)
    assert f"id = {swanctl_identity(own)}\n" in files[CONNECTIONS].decode()
    assert b"certs =" not in files[CONNECTIONS]
    assert b"ExecStart=/opt/dmvpn-agent/bin/dmvpn-agent renew\n" in files["/etc/systemd/system/dmvpn-renew.service"]
    node = choose(bundle, MACHINE, ANSWERS).node
    assert node is not None
    timers = [
        step for step in make_plan(node, bundle, MACHINE).steps if isinstance(step, Restart) and not step.socket
    ]
    assert timers == [Restart(RENEW_TIMER, "", ours=True)]


def test_a_server_of_another_ca_is_known_by_that() -> None:
    """Its CA is kept apart from those that issue peers' certificates."""
    files = written(enrolled(b"PEM"))
    assert files[EST_CA] == b"PEM"
    renewal = read_config(tomllib.loads(files[AGENT_TOML].decode())).renewal
    assert [str(path) for path in renewal.server_authorities] == [EST_CA]


def test_on_alpine_cron_renews() -> None:
    """busybox's crond runs what is in the folder; setup says that it must."""
    machine = replace(MACHINE, services=Services(Manager.OPENRC, "charon", "frr"))
    node = choose(enrolled(), machine, ANSWERS).node
    assert node is not None
    plan = make_plan(node, enrolled(), machine)
    (step,) = [one for one in plan.files if one.path == "/etc/periodic/15min/dmvpn-renew"]
    assert step.mode == 0o755
    assert "cron" in " ".join(plan.notes)


def test_without_enrolment_nothing_is_renewed() -> None:
    """A certificate from a file is named in the connection, as ever."""
    files = written(spoke_bundle())
    assert b"certs = node.pem\n" in files[CONNECTIONS]
    assert read_config(tomllib.loads(files[AGENT_TOML].decode())).renewal.server is None
    assert not [path for path in files if "renew" in path]


def test_a_renewed_certificate_is_not_replaced_by_the_bundles() -> None:
    """Setup that runs again after a renewal leaves the later certificate of the same subject, and its key."""
    authority = Authority()
    older, later = (read_bundle(pfx(guide(authority=authority)), None, datetime.now(UTC)) for _ in range(2))
    given = replace(older, certificate=replace(older.certificate))
    installed = {
        CERTIFICATE: File(later.certificate_pem, 0o644, "root", "root"),
        KEY: File(later.key, 0o600, "root", "root"),
    }
    ends = [x509.load_pem_x509_certificate(one.certificate_pem).not_valid_after_utc for one in (given, later)]
    files = written(given, installed)
    assert (CERTIFICATE in files) == (ends[1] <= ends[0])
    swapped = installed | {KEY: File(older.key, 0o600, "root", "root")}
    assert CERTIFICATE in written(given, swapped)  # a key that does not fit is no renewal


@pytest.mark.parametrize(
    ("server", "token", "authorities", "fingerprint", "what"),
    [
        ("http://ca.example.com", "t", b"", "0" * 64, "--enrol"),
        ('https://ca"/', "t", b"", "0" * 64, "--enrol"),
        ("https://ca.example.com", "t", b"", "abc", "--ca-fingerprint"),
        ("https://ca.example.com", "t", b"", "", "the CA"),
        ("https://ca.example.com", "", b"", "0" * 64, "the token"),
        ("https://ca.example.com", "a b", b"PEM", "", "the token"),
    ],
)
def test_what_is_missing_is_refused(server: str, token: str, authorities: bytes, fingerprint: str, what: str) -> None:
    """The CA is never taken on trust, and the token never sent in the clear."""
    with pytest.raises(Refused) as refused:
        Enrolment.parse(server, token, authorities, fingerprint)
    assert refused.value.refusals[0].what == what


def test_a_fingerprint_may_have_colons() -> None:
    """As openssl prints it."""
    assert Enrolment.parse("https://ca/", "t", b"", ":".join(["AB"] * 32)).fingerprint == "ab" * 32
