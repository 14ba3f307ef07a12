"""Whether the account of ticks closes over a simulated time with early closes announced late, edits, outages and kills.

Ticks by the times that each schedule had, counted by the simulation, are compared with rows, and with what
`schedules audit` says. `--without` takes one mend out, so that it does not close.

    .venv/bin/python benchmarks/schedule_account.py [--schedules N] [--days N] [--seed N] [--without NAME] [--json]
"""

import argparse
import sys
import time
from pathlib import Path

from bench_pool import SAMPLE_JOBS, Figure, machine, positive, print_figures, private_services
from streamworkers.database import open_pool
from streamworkers.engine.registry import installed_jobs

sys.path[:0] = [str(SAMPLE_JOBS), str(Path(__file__).parent.parent / "tests")]


def main() -> None:
    """Simulate, and print what was found; exit code 1 if the account does not close."""
    import pytest

    from tick_mends import MENDS
    from tick_simulation import Simulation

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--schedules", type=positive, default=200)
    parser.add_argument("--days", type=positive, default=365)
    parser.add_argument("--seed", type=positive, default=1)
    parser.add_argument("--without", choices=sorted(MENDS), help="a mend to take out")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    words = parser.parse_args()
    with private_services() as bench, open_pool(bench.database_url, application="simulation", max_size=2) as pool:
        began = time.process_time()
        if words.without:
            MENDS[words.without](pytest.MonkeyPatch())
        outcome = Simulation(pool, bench.connection, bench.streams, installed_jobs(), words.seed).run(
            words.schedules, words.days
        )
        found = outcome.account
        numbers = {
            **{f"simulated {name}": count for name, count in outcome.events.items()},
            "ticks that the simulation counts": outcome.expected,
            "ticks in rows": outcome.stored,
            "ticks by the audit": found.ticks,
            "  of these, moved after they were decided": found.moved,
            "  not decided": found.undecided,
            **{f"  {kind}": count for kind, count in found.counts.items()},
            "seconds of processor time": round(time.process_time() - began),
        }
        figures = [Figure(name, [count], digits=0) for name, count in numbers.items()]
        title = f"{words.schedules} schedules over {words.days} days" + (
            f", without {words.without}" if words.without else ""
        )
        print_figures(title, figures, [machine(bench)], as_json=words.json)
    sys.exit(not outcome.closes)


if __name__ == "__main__":
    main()
