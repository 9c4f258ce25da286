"""``python -m dmvpn_lab SCENARIO``: run a scenario and report; the status is 0 only if all of it was true."""

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

from dmvpn_lab import CHECKOUT, keep, kernel, report, strongswan, summary
from dmvpn_lab.actions import ACTIONS
from dmvpn_lab.expectations import EXPECTATIONS
from dmvpn_lab.lab import Lab, StepOutcome
from dmvpn_lab.namespace import CommandError
from dmvpn_lab.scenario import Scenario, load
from dmvpn_lab.tables import ScenarioError

SCENARIOS = CHECKOUT / "deploy/lab/scenarios"
RESULTS = CHECKOUT / ".lab"
# What booting a VM and starting all nodes may take, in seconds, besides the steps' own time.
START_SECONDS = 900
_KEPT = """
It stays up. Nodes: {nodes}; the host behind each is NODE-lan. From another terminal, for example:
  deploy/lab/at hub vtysh -c 'show dmvpn'
  deploy/lab/at hub swanctl --list-sas
  deploy/lab/at spoke1-lan ping -c 3 192.168.2.2
  deploy/lab/at --stop"""


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="dmvpn_lab", description=__doc__)
    parser.add_argument("scenario", help="a file in deploy/lab/scenarios, without .toml")
    parser.add_argument("--result", type=Path, help="folder for report.json and logs (default: .lab/SCENARIO)")
    parser.add_argument("--keep", action="store_true", help="leave the lab running at the end")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    result = (options.result or RESULTS / options.scenario).absolute()
    try:
        scenario = load(SCENARIOS / f"{options.scenario}.toml", ACTIONS, EXPECTATIONS)
        return _inside(scenario, result, options.keep) if options.inside else _outside(scenario, result, options.keep)
    except (ScenarioError, CommandError) as error:
        print(f"lab: {error}", file=sys.stderr)
        return 2


def _outside(scenario: Scenario, result: Path, keep_up: bool) -> int:
    if os.geteuid() != 0:
        raise CommandError("needs root: it makes network namespaces and starts the daemons in them")
    strongswan.check(strongswan.MODES[scenario.mode])
    shutil.rmtree(result, ignore_errors=True)
    result.mkdir(parents=True)
    from dmvpn_lab.prepare import prepare  # noqa: PLC0415  takes long to load in an emulated VM, which does not need it

    prepare(scenario, result)
    argv = [sys.executable, "-m", "dmvpn_lab", scenario.name, "--inside", "--result", str(result)]
    argv += ["--keep"] if keep_up else []
    missing = kernel.lacking()
    if missing:
        print(f"This kernel ({platform.release()}) has no {' and no '.join(missing)}: running in a VM with")
        print(f"{kernel.image()}, emulated, so it takes some minutes.", flush=True)
        seconds = 0.0 if keep_up else START_SECONDS + sum(step.seconds for step in scenario.steps)
        kernel.run_in_vm(argv, result, CHECKOUT, seconds)
    else:
        print(f"This kernel ({platform.release()}) has GRE and ESP: running on it directly.", flush=True)
        kernel.run_here(argv)
    file = result / "report.json"
    if not file.exists():
        raise CommandError(f"the lab ended without a report; what there is of logs lies in {result}")
    return 0 if json.loads(file.read_text())["true"] else 1


def _inside(scenario: Scenario, result: Path, keep_up: bool) -> int:
    begin = time.monotonic()
    lock = threading.Lock()

    def say(line: str) -> None:
        with lock:
            print(f"{time.monotonic() - begin:6.1f} s  {line}", flush=True)

    with tempfile.TemporaryDirectory(prefix="dmvpn-lab-") as folder:
        work = Path(folder)
        lab = Lab(scenario, result, work, say)
        outcomes: list[StepOutcome] = []
        error: str | None = None
        try:
            lab.start()
            for number, step in enumerate(scenario.steps, 1):
                say(f"{number}/{len(scenario.steps)} {step.title}")
                outcomes.append(lab.run(step))
                say(f"  {'true' if outcomes[-1].true else 'NOT TRUE'} after {outcomes[-1].seconds:.1f} s")
                if not outcomes[-1].true:
                    break
        except CommandError as failure:
            error = str(failure)
        found = report.make(lab, outcomes, error, platform.release(), time.monotonic() - begin)
        (result / "report.json").write_text(json.dumps(found, indent=1, default=str))
        shutil.copytree(work / "logs", result / "logs", dirs_exist_ok=True)
        print("\n".join(["", *summary.lines(found, scenario.hubs[0].name), ""]))
        print(f"report: {result / 'report.json'}   logs: {result / 'logs'}", flush=True)
        if keep_up:
            print(_KEPT.format(nodes=", ".join(lab.nodes)), flush=True)
            keep.serve(lab, result / "keep")
    return 0 if found["true"] else 1


if __name__ == "__main__":
    sys.exit(main())
