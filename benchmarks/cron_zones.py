"""Whether cron expressions tick when they should, in every time zone whose clocks change from 2020 to 2030.

A brute force walks each minute of real time around every change of a zone's clocks, and some days elsewhere, and looks
at the local time; `tests/cron_oracle.py` has it. Both get the same invented expressions, from random starts.

    .venv/bin/python benchmarks/cron_zones.py [--expressions N] [--seed N] [--zones NAME,...] [--json]
"""

import argparse
import json
import random
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from cron_agreement import Agreement, compare_zone
from cron_oracle import changing_zones

_SHOWN_DIFFERENCES = 5


def main() -> int:
    """Compare all zones and print the counts of each; 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--expressions", type=int, default=400, help="invented for each zone")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--zones", help="names separated by commas; all that change by default")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    words = parser.parse_args()
    names = words.zones.split(",") if words.zones else changing_zones()
    found: list[Agreement] = []
    with ProcessPoolExecutor(words.processes) as pool:
        compare = partial(_compare, seed=words.seed, expressions=words.expressions)
        for agreement in pool.map(compare, names):
            found.append(agreement)
            if not words.json:
                _print(agreement)
    differing = sum(len(each.differences) for each in found)
    if words.json:
        print(json.dumps([asdict(each) for each in found], indent=1))
    else:
        total = [sum(getattr(each, name) for each in found) for name in ("changes", "expressions", "starts", "ticks")]
        print(
            f"{len(found)} zones, {total[0]:,} changes of the clocks, {total[1]:,} expressions, {total[2]:,} starts,"
            f" {total[3]:,} ticks: {differing} differences"
        )
    return 1 if differing else 0


def _compare(name: str, *, seed: int, expressions: int) -> Agreement:
    return compare_zone(
        name, random.Random(f"{seed}:{name}"), expressions=expressions, quiet_walks=3, most_changes=1000
    )


def _print(agreement: Agreement) -> None:
    print(
        f"{agreement.zone:32} {agreement.changes:3} changes {agreement.expressions:5} expressions"
        f" {agreement.starts:6} starts {agreement.ticks:8} ticks {len(agreement.differences):4} differences",
        flush=True,
    )
    for difference in agreement.differences[:_SHOWN_DIFFERENCES]:
        print(f"    {difference}")


if __name__ == "__main__":
    sys.exit(main())
