"""Queues and workers: is the backlog draining, when is it empty, would more workers help, and what is stuck?"""

from grafana.alerts import firing
from grafana.columns import column, link
from grafana.dashboard import Board
from grafana.layout import Section
from grafana.looks import PLAIN, Look, Steps, above, any_is_bad, any_needs_a_look, below, limit
from grafana.panels import About, Panel, Size, merged, stat, table, timeseries
from grafana.queries import Query, promql, promql_table
from grafana.variables import labels_of, one_of

_QUEUE = 'queue=~"$queue"'
_JOB = 'queue=~"$queue", job=~"$job"'
# The limit of the alert StreamworkersOldestItemTooOld.
_TOO_OLD = 1800
_STATES = f"max by (queue, state) (streamworkers_queue_entries{{{_QUEUE}}})"
_WAITING = f'max by (queue) (streamworkers_queue_entries{{state="waiting", {_QUEUE}}})'
_CLOSED = f"sum by (queue) (rate(streamworkers_items_finished_total{{{_QUEUE}}}[5m]))"
_DRAIN = f"{_WAITING} / ({_CLOSED} > 0)"
_OLDEST = f"max by (queue) (streamworkers_queue_oldest_age_seconds{{{_QUEUE}}})"
_DEAD = f"max by (queue) (streamworkers_queue_dead_items{{{_QUEUE}}})"
# Seconds an item, over the last hour, so that the hint stays when the pool has just become idle.
_SECONDS_AN_ITEM = f"""
    sum by (queue) (rate(streamworkers_batch_duration_seconds_sum{{{_QUEUE}}}[1h]))
    / (sum by (queue) (rate(streamworkers_batch_items_sum{{{_QUEUE}}}[1h])) > 0)
"""
_NEEDED = f"ceil(sum({_WAITING} * on (queue) ({_SECONDS_AN_ITEM})) / $drain)"


def _quantiles(metric: str, labels: str = _JOB) -> list[Query]:
    """Three quantiles; while nothing is observed there is none, not a NaN, which a chart cannot place."""
    return [
        promql(
            f"histogram_quantile({share}, sum by (le) (rate({metric}_bucket{{{labels}}}[$__rate_interval]))) >= 0",
            name,
        )
        for share, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
    ]


def _number(about: About, expression: str, steps: Steps, unit: str = "short") -> Panel:
    look = Look(unit=unit, decimals=0 if unit == "short" else None, minimum=0, thresholds=steps, no_value="none")
    return stat(about, [promql(expression, about.title)], look, Size(4, 5))


def _at_a_glance() -> Section:
    return Section(
        1,
        "Is it draining, and when is it empty?",
        [
            _number(
                About(11, "Items waiting", "How many items has no worker taken yet? If the number grows, add workers."),
                f"sum({_WAITING})",
                PLAIN,
            ),
            _number(
                About(
                    10,
                    "Empty in",
                    "When is the last queue empty at the pace of the last five minutes? No value: nothing is closed, or"
                    " nothing waits. If that is too late, see Workers needed.",
                ),
                f"max({_DRAIN})",
                PLAIN,
                "s",
            ),
            _number(
                About(
                    14,
                    "Workers needed",
                    "How many workers would empty the queues within the time chosen above, at the pace of the last"
                    " hour? Scale out when it stays above the slots: `docker compose up -d --scale worker=8`.",
                ),
                f"{_NEEDED} or vector(0)",
                PLAIN,
            ),
            _number(
                About(15, "Slots", "How many workers should run, over all supervisors? With none nothing is done."),
                "sum(streamworkers_worker_slots) or vector(0)",
                below(1, 1),
            ),
            _number(
                About(
                    12,
                    "Oldest item",
                    "How long has the oldest item been in its queue? Minutes with idle workers: an item kills its"
                    " workers, or no worker knows its job. `streamworkers doctor` says which. A page at 30 minutes.",
                ),
                f"max({_OLDEST})",
                above(600, _TOO_OLD),
                "s",
            ),
            _number(
                About(
                    16,
                    "Dead items",
                    "How many items used up their attempts and need a decision? `streamworkers dead list`, then"
                    " `replay`.",
                ),
                f"sum({_DEAD})",
                any_needs_a_look(),
            ),
            _table_of_queues(),
            firing(49, Size(10, 8)),
            _backlog(),
            _in_and_out(),
        ],
    )


def _table_of_queues() -> Panel:
    about = About(
        19,
        "Queue by queue",
        "Which queue drains, which grows, and when is each empty? Waiting without any closed a minute: no worker"
        " reads it.",
    )
    names = {
        "queue": "queue",
        "Value #A": "waiting",
        "Value #B": "executed now",
        "Value #C": "later",
        "Value #D": "closed / min",
        "Value #E": "empty in",
        "Value #F": "oldest",
        "Value #G": "dead",
    }
    queries = [
        *(
            promql_table(f'max by (queue) (streamworkers_queue_entries{{state="{state}", {_QUEUE}}})')
            for state in ("waiting", "pending", "delayed")
        ),
        promql_table(f"{_CLOSED} * 60"),
        promql_table(_DRAIN),
        promql_table(_OLDEST),
        promql_table(_DEAD),
    ]
    columns = (
        column("executed now", width=85),
        column("later", width=65),
        column("closed / min", width=80),
        column("empty in", "s", width=95),
        column("oldest", "s", width=95, steps=above(600, _TOO_OLD)),
        column("dead", width=65, steps=any_needs_a_look()),
    )
    look = Look(unit="short", decimals=0, columns=columns, no_value="no queue: no worker has run yet")
    return table(about, queries, look, Size(14, 8), transformations=merged(names))


def _backlog() -> Panel:
    about = About(
        17,
        "Backlog",
        "Does the backlog fall? Entries that wait, are being executed (pending), or run later (delayed). If waiting"
        " grows, add workers; if pending does not move, workers hang.",
    )
    return timeseries(
        about,
        [promql(_STATES, "{{queue}} {{state}}")],
        Look(unit="short", decimals=0, minimum=0, no_value="nothing waits"),
        Size(12, 8),
        stacked=True,
    )


def _in_and_out() -> Panel:
    about = About(
        21,
        "Enqueued and closed a minute",
        "Is more closed than comes in? Failed items are dead: see the failures on the board Tonight.",
    )
    enqueued = f"max by (queue, job) (rate(streamworkers_items_enqueued_total{{{_JOB}}}[$__rate_interval]))"
    closed = f"sum by (outcome) (rate(streamworkers_items_finished_total{{{_JOB}}}[$__rate_interval])) * 60"
    return timeseries(
        about,
        [promql(f"sum({enqueued}) * 60", "enqueued"), promql(closed, "{{outcome}}")],
        Look(unit="short", minimum=0, no_value="nothing was closed"),
        Size(12, 8),
    )


def _workers_needed() -> Section:
    return Section(
        2,
        "Would more workers help?",
        [
            timeseries(
                About(
                    41,
                    "Busy and idle workers, and how many are needed",
                    "Would more workers help? Yes while `needed` stays above the slots; scale in when most are idle.",
                ),
                [
                    promql("sum by (state) (streamworkers_workers)", "{{state}}"),
                    promql("sum(streamworkers_worker_slots)", "slots"),
                    promql(_NEEDED, "needed"),
                ],
                Look(unit="short", decimals=0, minimum=0, no_value="no worker has run yet"),
                Size(12, 8),
            ),
            timeseries(
                About(
                    31,
                    "Wait in the queue p50, p95, p99",
                    "How long do items wait from enqueue to execution? If the wait grows with the backlog, add"
                    " workers.",
                ),
                _quantiles("streamworkers_batch_wait_seconds"),
                Look(unit="s", minimum=0, no_value="nothing was executed yet"),
                Size(12, 8),
            ),
        ],
    )


def _stuck() -> Section:
    undecided = f"sum by (queue) (streamworkers_items_undecided{{{_QUEUE}}}) > 0"
    again = [
        promql(f"sum(rate(streamworkers_{name}_total{{{_JOB}}}[$__rate_interval])) * 60", shown)
        for name, shown in (
            ("items_retried", "retried"),
            ("items_snoozed", "snoozed"),
            ("items_fenced", "fenced"),
            ("entries_dropped", "dropped"),
        )
    ]
    return Section(
        3,
        "What is stuck?",
        [
            timeseries(
                About(
                    18,
                    "Age of the oldest item",
                    "Does any item wait too long? A line that climbs steadily is one item that never finishes. The"
                    " line is the limit of the alert.",
                ),
                [promql(_OLDEST, "{{queue}}")],
                Look(unit="s", minimum=0, thresholds=limit(_TOO_OLD), no_value="nothing waits"),
                Size(8, 8),
            ),
            timeseries(
                About(
                    25,
                    "Dead items over time",
                    "When did items run out of attempts? After a step up, see `streamworkers dead list`.",
                ),
                [promql(_DEAD, "{{queue}}")],
                Look(unit="short", decimals=0, minimum=0, no_value="none"),
                Size(8, 8),
            ),
            timeseries(
                About(
                    48,
                    "Undecided items",
                    "Which queue has items that are executed again and again, because each time a service seems away"
                    " to their handler? `streamworkers doctor` names them.",
                ),
                [promql(undecided, "{{queue}}")],
                Look(unit="short", decimals=0, minimum=0, thresholds=any_is_bad(), no_value="none"),
                Size(8, 8),
            ),
            timeseries(
                About(
                    23,
                    "Repeated a minute",
                    "How much work is repeated or delayed? For many retries, read the errors on the board Runs. Fenced"
                    " results come from workers that were believed dead: is the lease too short for the machine?",
                ),
                again,
                Look(unit="short", minimum=0, no_value="nothing"),
                Size(12, 8),
            ),
            _moved(),
        ],
    )


def _moved() -> Panel:
    about = About(
        24,
        "Put back into queues a minute",
        "How many entries came from workers that ended, or were lost by Redis? A steady rate means that"
        " supervisors vanish or Redis loses data: look at the ended workers.",
    )
    moved = [
        promql(
            f"sum by (queue) (rate(streamworkers_{name}_total{{{_QUEUE}}}[$__rate_interval])) * 60",
            "{{queue}} " + shown,
        )
        for name, shown in (
            ("entries_reclaimed", "reclaimed"),
            ("entries_requeued", "requeued"),
            ("items_reconciled", "reconciled"),
            ("entries_rejected", "rejected"),
            ("entries_promoted", "promoted"),
        )
    ]
    return timeseries(about, moved, Look(unit="short", minimum=0, no_value="nothing"), Size(12, 8))


def _calls() -> Section:
    by_job = f"sum by (queue, job) (rate(streamworkers_items_finished_total{{{_JOB}}}[$__rate_interval])) * 60"
    return Section(
        4,
        "Job by job",
        [
            timeseries(
                About(
                    22,
                    "Closed a minute by job",
                    "Which jobs does the pool execute, and how fast? A job at zero with a backlog has no worker.",
                ),
                [promql(by_job, "{{queue}} {{job}}")],
                Look(unit="short", minimum=0, no_value="nothing was closed"),
                Size(8, 8),
                stacked=True,
            ),
            timeseries(
                About(
                    32,
                    "Duration of a call p50, p95, p99",
                    "How long does one call of a handler take? Calls that reach the job's time limit are killed.",
                ),
                _quantiles("streamworkers_batch_duration_seconds"),
                Look(unit="s", minimum=0, no_value="nothing was executed yet"),
                Size(8, 8),
            ),
            timeseries(
                About(
                    33,
                    "Items in a call p50, p95, p99",
                    "How many items does one call execute? One at a time means slow items, or isolated ones after a"
                    " crash.",
                ),
                _quantiles("streamworkers_batch_items"),
                Look(unit="short", minimum=0, no_value="nothing was executed yet"),
                Size(8, 8),
            ),
        ],
        collapsed=True,
    )


def _workers() -> Section:
    ends = "sum by (cause) (increase(streamworkers_worker_ends_total[$__rate_interval]))"
    memory = "sum by (instance, slot) (streamworkers_worker_private_memory_bytes)"
    cpu = "sum by (instance, slot) (rate(streamworkers_worker_cpu_seconds_total[$__rate_interval]))"
    return Section(
        5,
        "Worker by worker",
        [
            _table_of_supervisors(),
            _table_of_workers(),
            timeseries(
                About(
                    42,
                    "Workers that ended, by cause",
                    "Why do workers end? `stopped` is a normal end; `timeout`, `memory` and `silent` were killed for"
                    " too long a call, too much memory or no sign of life; the event worker_ended in the log has the"
                    " reason.",
                ),
                [promql(ends, "{{cause}}")],
                Look(unit="short", decimals=0, minimum=0, no_value="none"),
                Size(12, 8),
                style="bars",
                stacked=True,
            ),
            timeseries(
                About(
                    47,
                    "Requeue after a death p50, p95, p99",
                    "How long after a worker died did another one start its items? It should be at most the lease.",
                ),
                _quantiles("streamworkers_requeue_duration_seconds", _QUEUE),
                Look(unit="s", minimum=0, no_value="no worker died"),
                Size(12, 8),
            ),
            timeseries(
                About(
                    45,
                    "Memory of workers",
                    "Does a worker grow without end? Limit it with `--max-memory-mb` and look for the leak in its job."
                    " What workers share is not counted.",
                ),
                [promql(memory, "{{instance}} {{slot}}")],
                Look(unit="bytes", minimum=0, no_value="no worker has run yet"),
                Size(12, 8),
            ),
            timeseries(
                About(
                    46,
                    "CPU time of workers",
                    "Do workers compute or wait? Busy slots that use little CPU time wait for PostgreSQL or a"
                    " provider.",
                ),
                [promql(cpu, "{{instance}} {{slot}}")],
                Look(unit="percentunit", minimum=0, no_value="no worker has run yet"),
                Size(12, 8),
            ),
        ],
        collapsed=True,
    )


def _table_of_workers() -> Panel:
    about = About(
        43,
        "Worker processes",
        "Which process uses much memory or no CPU time? Restart its supervisor if it does not recover by itself.",
    )
    names = {"instance": "supervisor", "slot": "slot", "Value #A": "memory", "Value #B": "CPU"}
    queries = [
        promql_table("sum by (instance, slot) (streamworkers_worker_private_memory_bytes)"),
        promql_table("sum by (instance, slot) (rate(streamworkers_worker_cpu_seconds_total[5m]))"),
    ]
    columns = (
        column("slot", width=60),
        column("memory", "bytes", width=100),
        column("CPU", "percentunit", width=90),
    )
    look = Look(unit="none", columns=columns, no_value="no worker")
    return table(about, queries, look, Size(10, 8), transformations=merged(names))


def _table_of_supervisors() -> Panel:
    about = About(
        44,
        "Supervisors",
        "Which supervisors answer, and are their slots filled? Start one that is down (0) again.",
    )
    names = {
        "instance": "supervisor",
        "Value #A": "up",
        "Value #B": "slots",
        "Value #C": "busy",
        "Value #D": "closed in 5 min",
    }
    queries = [
        promql_table('max by (instance) (up{component="worker"})'),
        promql_table("sum by (instance) (streamworkers_worker_slots)"),
        promql_table('sum by (instance) (streamworkers_workers{state="busy"})'),
        promql_table("sum by (instance) (increase(streamworkers_items_finished_total[5m]))"),
    ]
    columns = (
        column("supervisor", to=link("stores", "/d/streamworkers-stores")),
        column("up", width=60, steps=below(1, 1)),
        column("slots", width=70),
        column("busy", width=70),
        column("closed in 5 min", width=110),
    )
    look = Look(unit="short", decimals=0, columns=columns, no_value="no supervisor")
    return table(about, queries, look, Size(14, 8), transformations=merged(names))


def board() -> Board:
    """The board, by queue and job."""
    return Board(
        uid="streamworkers-queues",
        title="Queues and workers",
        description="Is the backlog draining, when is it empty, would more workers help, and what is stuck?",
        sections=[_at_a_glance(), _workers_needed(), _stuck(), _calls(), _workers()],
        variables=[
            labels_of("queue", "streamworkers_queue_entries", "queue"),
            labels_of("job", 'streamworkers_items_started_total{queue=~"$queue"}', "job"),
            one_of("drain", "empty within", [("10 min", "600"), ("2 min", "120"), ("30 min", "1800")]),
        ],
        since="now-3h",
        annotated=("Worker kills", "Deploys"),
    )
