"""``python -m campaign --worlds N [--first SEED] [--jobs J]`` with ``tests`` on the path.

Every world is made from its seed, and every finding is printed with it. ``--show SEED [--without 3,5]`` runs one
world again without the named steps, and prints what happens and what the oracle thinks. ``--shrink SEED`` prints
which steps a finding does not need. The exit status is 1 if there was a finding.
"""

import argparse
import os
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import structlog

from campaign.check import Check, Result
from campaign.generate import make_world

#: Worlds of one task.
CHUNK = 250
WRONG_ACCEPTS = ("wrong accept", "wrong peer", "wrong prefix", "no filter", "neighbor of nobody", "overlap")
WRONG_DENIALS = ("wrong denial", "wrongly refused prefix")


def _folder() -> Path:
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir()
    return Path(base) / f"dmvpn-campaign-{os.getpid()}"


def live(seed: int, without: frozenset[int] = frozenset(), *, verbose: bool = False) -> Result:
    """Live through the world of a seed, but for some of its steps."""
    warnings.simplefilter("ignore")
    world = make_world(seed)
    world.steps = [step for number, step in enumerate(world.steps) if number not in without]
    if verbose:
        print(f"patched={world.patched} role={world.role} connections={world.connections} bgp={world.bgp}")
        print(f"policy={world.policy}\ncas={[one.label for one in world.authorities]}\ncrls={world.crls}")
    check = Check(world, _folder(), verbose=verbose)
    try:
        return check.run()
    except Exception:
        check.result.findings.append(("exception", traceback.format_exc().strip().splitlines()[-1], seed))
        if verbose:
            traceback.print_exc()
        return check.result


def _chunk(first: int, last: int) -> Result:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    whole = Result()
    for seed in range(first, last):
        whole.add(live(seed))
    return whole


def shrink(seed: int) -> frozenset[int]:
    """Return the steps that can be left out of a world, and its first finding stays."""
    kind = live(seed).findings[0][0]
    without: frozenset[int] = frozenset()
    for number in reversed(range(len(make_world(seed).steps))):
        fewer = without | {number}
        if any(found[0] == kind for found in live(seed, fewer).findings):
            without = fewer
    return without


def main() -> int:
    """Run a campaign."""
    parser = argparse.ArgumentParser(prog="python -m campaign", description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=int, default=2000)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--show", type=int)
    parser.add_argument("--without", default="")
    parser.add_argument("--shrink", type=int)
    arguments = parser.parse_args()
    if arguments.show is not None:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(20))
        without = frozenset(map(int, filter(None, arguments.without.split(","))))
        return bool(live(arguments.show, without, verbose=True).findings)
    if arguments.shrink is not None:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
        left_out = shrink(arguments.shrink)
        print(f"--show {arguments.shrink} --without {','.join(map(str, sorted(left_out)))}")
        return 1
    return _campaign(arguments.first, arguments.worlds, arguments.jobs)


def _campaign(first: int, worlds: int, jobs: int) -> int:
    started, whole = time.monotonic(), Result()
    said: Counter[tuple[str, str]] = Counter()
    with ProcessPoolExecutor(jobs) as pool:
        parts = [
            pool.submit(_chunk, start, min(start + CHUNK, first + worlds))
            for start in range(first, first + worlds, CHUNK)
        ]
        for number, part in enumerate(parts, 1):
            found = part.result()
            whole.add(found)
            for kind, what, seed in found.findings:
                said[kind, what] += 1
                if said[kind, what] <= 3:
                    print(f"{kind}: {what} (--show {seed})", flush=True)
            if number % 40 == 0:
                rate = whole.counts["worlds"] / (time.monotonic() - started)
                print(f"… {whole.counts['worlds']} worlds, {rate:.0f}/s", flush=True)
    seconds = time.monotonic() - started
    print(f"{whole.counts['worlds']} worlds in {seconds:.0f} s ({whole.counts['worlds'] / seconds:.0f}/s)")
    for name, count in sorted(whole.counts.items()):
        print(f"  {count:9} {name}")
    for (kind, what), count in said.most_common():
        print(f"  {count:6} × {kind}: {what}")
    accepts = sum(whole.counts[kind] for kind in WRONG_ACCEPTS)
    print(f"wrong accepts: {accepts}; wrong denials: {sum(whole.counts[kind] for kind in WRONG_DENIALS)}")
    return bool(whole.findings)


if __name__ == "__main__":
    sys.exit(main())
