"""The plan: what it contains for which machine, and what it refuses."""

import tomllib
from dataclasses import replace
from typing import Any

import pytest

from dmvpn_agent.config.file import read_config
from dmvpn_agent.config.findings import refuse_contradictions
from dmvpn_agent.setup.choose import choose
from dmvpn_agent.setup.files import node_files, with_daemons
from dmvpn_agent.setup.objections import refusals
from dmvpn_agent.setup.paths import AGENT_TOML, CONNECTIONS, FRR_CONF, KEY, TUNNEL_INTERFACES, authority_path
from dmvpn_agent.setup.plan import Restart, Run, Tunnel, make_plan
from dmvpn_agent.setup.plan_text import diff_text, steps_text, values_text
from dmvpn_agent.setup.system import File, Manager, Services, System, TunnelBy, content_digest
from nodes import ANSWERS, MACHINE, hub_bundle, node, spoke_bundle

NODE = node()


def text(path: str, machine: System = MACHINE, **changes: Any) -> str:
    """Return a file that setup writes."""
    steps = node_files(replace(NODE, **changes), spoke_bundle(), machine)
    (content,) = (step.content for step in steps if step.path == path)
    assert content is not None
    return content.decode()


@pytest.mark.parametrize("bundle", [spoke_bundle, hub_bundle])
@pytest.mark.parametrize("changes", [
    {}, {"bridged": False}, {"ibgp": True, "dmvpn_ca": True}, {"tunnel_by": TunnelBy.AGENT}, {"cisco": True},
])  # fmt: skip
def test_agent_toml_is_a_configuration_without_contradictions(bundle: Any, changes: dict[str, Any]) -> None:
    steps = node_files(node(bundle(), **changes), bundle(), MACHINE)
    (content,) = (step.content for step in steps if step.path == AGENT_TOML)
    assert content is not None
    refuse_contradictions(read_config(tomllib.loads(content.decode())))


def test_the_agent_makes_the_tunnel_where_nothing_else_makes_interfaces() -> None:
    assert 'addresses = ["10.255.0.17/32"]' in text(AGENT_TOML, tunnel_by=TunnelBy.AGENT)
    assert "[tunnel" not in text(AGENT_TOML, tunnel_by=TunnelBy.IFUPDOWN)


def test_frrs_daemons_are_switched_on_and_the_others_left() -> None:
    assert with_daemons("bgpd=no\nospfd=no\n") == "bgpd=yes\nospfd=no\nnhrpd=yes\n"
    assert with_daemons("nhrpd=yes\nbgpd=yes\n") == "nhrpd=yes\nbgpd=yes\n"


def test_frr_that_runs_with_all_daemons_is_not_restarted() -> None:
    """Its lines are added by vtysh; a restart would end other sessions."""
    on = with_daemons(MACHINE.files["/etc/frr/daemons"].content.decode()).encode()
    files = {**MACHINE.files, "/etc/frr/daemons": File(on, 0o640, "frr", "frr")}
    running = replace(MACHINE, frr_running="hostname x\n", files=files)
    steps = make_plan(NODE, spoke_bundle(), running).steps
    assert not any(isinstance(step, Restart) and step.service == "frr" for step in steps)
    (by_vtysh,) = (step for step in steps if isinstance(step, Run) and step.argv[0] == "vtysh")
    assert "ip nhrp shortcut" in by_vtysh.stdin


def test_without_a_service_manager_nothing_is_started() -> None:
    plan = make_plan(NODE, spoke_bundle(), replace(MACHINE, services=Services(Manager.NONE)))
    assert not any(isinstance(step, Restart | Run | Tunnel) for step in plan.steps)
    assert plan.notes


def test_a_units_program_is_the_one_that_runs() -> None:
    assert "ExecStart=/opt/dmvpn-agent/bin/dmvpn-agent run" in text("/etc/systemd/system/dmvpn-agent.service")


def test_a_packages_services_are_left_alone() -> None:
    paths = [step.path for step in node_files(NODE, spoke_bundle(), replace(MACHINE, has_packaged_units=True))]
    assert not any(path.startswith("/etc/systemd/system/") for path in paths)


@pytest.mark.parametrize(("changes", "what"), [
    ({"root": False}, "this user"),
    ({"frr_daemons": frozenset({"zebra", "staticd", "bgpd"})}, "FRR's nhrpd"),
    ({"has_nft": False}, "nftables"),
    ({"services": replace(MACHINE.services, charon="")}, "strongSwan's service"),
    ({"services": replace(MACHINE.services, frr="")}, "FRR's service"),
    ({"has_swanctl": False}, "strongSwan's swanctl"),
    ({"has_vici": False}, "strongSwan's plugin vici"),
    ({"has_vici": None}, "strongSwan's charon"),
    ({"unwritable": {"/etc": "its file system is read-only"}}, "/etc"),
    ({"program_reachable": False}, "the program /opt/dmvpn-agent/bin/dmvpn-agent"),
])  # fmt: skip
def test_a_machine_that_lacks_something_is_refused(changes: dict[str, Any], what: str) -> None:
    found = refusals(NODE, spoke_bundle(), replace(MACHINE, **changes))
    assert [one.what for one in found] == [what]


def test_a_user_other_than_root_is_told_only_that() -> None:
    """What root could read and write is not known then."""
    other = replace(MACHINE, root=False, unwritable={"/etc": "Permission denied"}, has_swanctl=False)
    assert [one.what for one in refusals(NODE, spoke_bundle(), other)] == ["this user"]


def test_a_service_is_not_needed_by_a_machine_that_is_not_started() -> None:
    """An image has files only."""
    without = replace(MACHINE, services=replace(MACHINE.services, charon="", frr=""))
    assert refusals(NODE, spoke_bundle(), without, start=False) == ()


def test_a_kernel_without_gre_is_named_before_anything_is_changed() -> None:
    """Not refused: what is built into a kernel may be listed nowhere."""
    lacking = replace(MACHINE, kernel="6.1.0-cloud", lacks_modules=("ip_gre",))
    (note,) = make_plan(NODE, spoke_bundle(), lacking).notes
    assert "6.1.0-cloud" in note
    assert "ip_gre" in note
    assert f"note: {note}" in steps_text(make_plan(NODE, spoke_bundle(), lacking))
    assert make_plan(NODE, spoke_bundle(), lacking, start=False).notes == ()


def test_a_command_that_may_fail_says_what_follows() -> None:
    """Each of them; the others end setup."""
    runs = [step for step in make_plan(NODE, spoke_bundle(), MACHINE).steps if isinstance(step, Run)]
    assert {step.argv[0]: bool(step.otherwise) for step in runs if step.argv != ("systemctl", "daemon-reload")} == {
        "modprobe": True, "systemctl": True, "swanctl": False,
    }  # fmt: skip


def test_a_conflict_in_frr_is_refused() -> None:
    files = {**MACHINE.files, FRR_CONF: File(b"router bgp 65099\nexit\n", 0o640, "frr", "frr")}
    (found,) = refusals(NODE, spoke_bundle(), replace(MACHINE, files=files))
    assert (found.found, found.expected) == ("router bgp 65099", "router bgp 65017")


def test_frr_with_a_file_for_each_daemon_is_refused() -> None:
    files = {"/etc/frr/bgpd.conf": File(b"", 0o640, "frr", "frr")}
    assert [one.what for one in refusals(NODE, spoke_bundle(), replace(MACHINE, files=files))] == [
        "FRR's configuration"
    ]


def test_a_node_of_another_ca_is_refused() -> None:
    other = {
        authority_path(0): File(hub_bundle().authorities[0], 0o644, "root", "root"),
        KEY: File(b"", 0o600, "root", "root"),
    }
    found = refusals(NODE, spoke_bundle(), replace(MACHINE, files={**MACHINE.files, **other}))
    assert [one.what for one in found] == [authority_path(0)]


def test_the_key_is_never_displayed() -> None:
    plan = make_plan(NODE, spoke_bundle(), MACHINE)
    shown = "\n".join((diff_text(plan, MACHINE.files), *steps_text(plan), repr(plan)))
    assert "PRIVATE KEY" not in shown
    assert KEY in shown


def test_every_step_and_value_is_displayed() -> None:
    plan = make_plan(NODE, spoke_bundle(), MACHINE)
    lines = steps_text(plan)
    assert len(lines) == len(plan.steps) - len(plan.files)
    assert "the default route by eth0" in values_text(choose(spoke_bundle(), MACHINE, ANSWERS).values)


def test_a_tunnel_that_exists_stays_the_operators() -> None:
    """Unless setup made it: by its file, or by the agent."""
    there = replace(MACHINE, links=MACHINE.links | {"gre1"})
    by_file = replace(there, files={**MACHINE.files, TUNNEL_INTERFACES: File(b"", 0o644, "root", "root")})
    by_agent = replace(there, files={**MACHINE.files, AGENT_TOML: File(b"\n[tunnel.gre1]\n", 0o644, "root", "root")})
    chosen = [choose(spoke_bundle(), machine, ANSWERS).node for machine in (there, by_file, by_agent)]
    assert [one.tunnel_by for one in chosen if one] == [TunnelBy.OPERATOR, TunnelBy.IFUPDOWN, TunnelBy.AGENT]
    assert chosen[0]
    assert not any(isinstance(step, Tunnel) for step in make_plan(chosen[0], spoke_bundle(), there).steps)


def test_an_edited_agent_toml_is_kept_and_named() -> None:
    """With the access that its owner gave it, if the agent can read it."""
    (step,) = (one for one in node_files(NODE, spoke_bundle(), MACHINE) if one.path == AGENT_TOML)
    assert step.content is not None
    edited = step.content.replace(b"127.0.0.1:19342", b"192.0.2.9:19342") + b'\n[gre_guard]\nmode = "enforce"\n'
    for mode, group, kept in ((0o640, "dmvpn-agent", True), (0o600, "root", False)):
        files = {**MACHINE.files, AGENT_TOML: File(edited, mode, "root", group)}
        plan = make_plan(NODE, spoke_bundle(), replace(MACHINE, files=files))
        assert "metrics.listen" in " ".join(plan.notes)
        assert (AGENT_TOML in [one.path for one in plan.files]) is not kept


def test_a_file_that_the_operator_changed_stays_until_setup_has_to_change_it() -> None:
    """Then a copy of theirs is kept where only root can read it."""
    (step,) = (one for one in node_files(NODE, spoke_bundle(), MACHINE) if one.path == CONNECTIONS)
    theirs = File((step.content or b"") + b"# ours\n", 0o644, "root", "root")
    for wrote, paths in (
        (step.content, []),
        (b"an earlier version", ["/var/lib/dmvpn-agent-setup/etc_swanctl_conf.d_dmvpn.conf", CONNECTIONS]),
        (theirs.content, [CONNECTIONS]),
    ):
        digests = {CONNECTIONS: content_digest(wrote)}
        machine = replace(MACHINE, files={**MACHINE.files, CONNECTIONS: theirs}, digests=digests)
        plan = make_plan(NODE, spoke_bundle(), machine)
        assert [one.path for one in plan.files if "dmvpn.conf" in one.path and "swanctl" in one.path] == paths
        assert (f"{CONNECTIONS} stays" in " ".join(plan.notes)) is not bool(paths)
