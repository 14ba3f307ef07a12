"""`python -m chaos`: the full form of the chaos run."""

import argparse
import signal
import sys

from chaos.plan import FULL_SECONDS, full_plan, short_plan
from chaos.report import print_verdict, write_report
from chaos.run import run_chaos

WITHOUT = ("fence", "reclaim", "reconciler", "charge", "transaction")


def main() -> int:
    """Run and print; exits with 1 if anything was lost, doubled, stuck, or left behind."""
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="what fixes workload and schedule")
    parser.add_argument("--seconds", type=float, default=FULL_SECONDS, help="how long faults happen")
    parser.add_argument("--short", action="store_true", help="the form that is part of the tests")
    parser.add_argument(
        "--long-outages", action="store_true", help="add a minute without Redis, and one without PostgreSQL"
    )
    parser.add_argument("--without", choices=WITHOUT, help="take one guarantee out")
    parser.add_argument("--keep", action="store_true", help="keep the folder with logs and evidence")
    parser.add_argument("--write-report", action="store_true", help="put the figures into docs/reliability.md")
    words = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if words.short:
        plan = short_plan(words.seed)
    else:
        plan = full_plan(words.seed, words.seconds, long_outages=words.long_outages)
    verdict = run_chaos(plan, without=words.without, keep=words.keep)
    print_verdict(plan, verdict)
    if words.write_report:
        write_report(plan, verdict)
    return 0 if verdict.is_clean else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
