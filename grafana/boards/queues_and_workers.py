"""Queues and workers: does the pool keep up, and would more workers help?"""

from grafana.columns import column, link
from grafana.dashboard import Board
from grafana.layout import Section
from grafana.looks import Look, above, any_is_bad, below
from grafana.panels import About, Panel, Size, merged, stat, table, timeseries
from grafana.queries import Json, Query, promql, promql_now, promql_table
from grafana.variables import labels_of, one_of

_QUEUE = 'queue=~"$queue"'
_JOB = 'queue=~"$queue", job=~"$job"'
# Seconds an item, over the last hour, so that the hint stays when the pool has just become idle.
_SECONDS_AN_ITEM = f"""
    sum by (queue) (rate(streamworkers_batch_duration_seconds_sum{{{_QUEUE}}}[1h]))
    / (sum by (queue) (rate(streamworkers_batch_items_sum{{{_QUEUE}}}[1h])) > 0)
"""
_WORK_WAITING = f"""
    max by (queue) (streamworkers_queue_entries{{state="waiting", {_QUEUE}}}) * on (queue) ({_SECONDS_AN_ITEM})
"""
_WORKERS_NEEDED = f"ceil(sum({_WORK_WAITING}) / $drain) or vector(0)"


def _quantiles(metric: str, labels: str = _JOB) -> list[Query]:
    return [
        promql(
            f"histogram_quantile({share}, sum by (le) (rate({metric}_bucket{{{labels}}}[$__rate_interval])))",
            name,
        )
        for share, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
    ]


def _rate(metric: str, by: str, labels: str = _JOB) -> Query:
    legend = " ".join(f"{{{{{label.strip()}}}}}" for label in by.split(","))
    return promql(f"sum by ({by}) (rate({metric}{{{labels}}}[$__rate_interval]))", legend)


def _number(about: About, expression: str, look: Look) -> Panel:
    return stat(about, [promql_now(expression, about.title)], look, Size(4, 4))


def _at_a_glance() -> Section:
    states = f"max by (queue, state) (streamworkers_queue_entries{{{_QUEUE}}})"
    waiting = About(11, "Waiting", "How many items has no worker taken yet? If the number grows, see Workers needed.")
    oldest = About(
        12,
        "Oldest item",
        "How long has the oldest item been in the queue? If it is minutes while workers are idle, an item kills its"
        " workers or its job is unknown to them: see `streamworkers doctor`.",
    )
    busy = About(
        13,
        "Busy slots",
        "What share of the worker slots is busy? With a backlog, near 100 % means add workers; near 0 % means that"
        " they read other queues.",
    )
    hint = About(
        14,
        "Workers needed",
        "How many workers would empty the queues within the time chosen above, at the pace of the last hour? Scale"
        " out when it stays above the slots.",
    )
    slots = About(
        15, "Slots", "How many worker processes should run, over all supervisors? If there are none, start some."
    )
    dead = About(
        16,
        "Dead items",
        "How many items used up their attempts and need a decision? `streamworkers dead list`, then `replay`.",
    )
    share = 'sum(streamworkers_workers{state="busy"}) / sum(streamworkers_worker_slots)'
    return Section(
        1,
        "At a glance",
        [
            _number(
                waiting,
                f'sum(max by (queue) (streamworkers_queue_entries{{state="waiting", {_QUEUE}}}))',
                Look(unit="short", decimals=0, thresholds=above(10_000, 100_000)),
            ),
            _number(
                oldest,
                f"max(streamworkers_queue_oldest_age_seconds{{{_QUEUE}}})",
                Look(unit="s", thresholds=above(300, 900)),
            ),
            _number(busy, share, Look(unit="percentunit", minimum=0, maximum=1, thresholds=above(0.9, 1.01))),
            _number(hint, _WORKERS_NEEDED, Look(unit="short", decimals=0)),
            _number(slots, "sum(streamworkers_worker_slots)", Look(unit="short", thresholds=below(1, 1))),
            _number(
                dead,
                f"sum(max by (queue) (streamworkers_queue_dead_items{{{_QUEUE}}}))",
                Look(unit="short", decimals=0, thresholds=any_is_bad()),
            ),
            timeseries(
                About(
                    17,
                    "Backlog by state",
                    "How many entries in Redis wait for a worker, are being executed (pending), or run later (delayed)?"
                    " If waiting grows, add workers; if pending does not move, workers hang.",
                ),
                [promql(states, "{{queue}} {{state}}")],
                Look(unit="short", decimals=0, minimum=0),
                Size(12, 8),
                stacked=True,
            ),
            timeseries(
                About(
                    18,
                    "Age of the oldest item",
                    "Does any item wait too long? A line that climbs steadily is one item that never finishes.",
                ),
                [promql(f"max by (queue) (streamworkers_queue_oldest_age_seconds{{{_QUEUE}}})", "{{queue}}")],
                Look(unit="s", minimum=0, thresholds=above(300, 900)),
                Size(12, 8),
            ),
        ],
    )


def _rates() -> Section:
    enqueued = f"max by (queue, job) (rate(streamworkers_items_enqueued_total{{{_JOB}}}[$__rate_interval]))"
    throughput = [
        promql(f"sum({enqueued})", "enqueued"),
        promql(f"sum(rate(streamworkers_items_started_total{{{_JOB}}}[$__rate_interval]))", "attempts"),
        _rate("streamworkers_items_finished_total", "outcome"),
    ]
    rest = [
        promql(f"sum(rate(streamworkers_{name}_total{{{_JOB}}}[$__rate_interval]))", shown)
        for name, shown in (
            ("items_retried", "retried"),
            ("items_snoozed", "snoozed"),
            ("items_fenced", "fenced"),
            ("entries_dropped", "dropped"),
        )
    ]
    moved = [
        promql(f"sum by (queue) (rate(streamworkers_{name}_total{{{_QUEUE}}}[$__rate_interval]))", "{{queue}} " + shown)
        for name, shown in (
            ("entries_reclaimed", "reclaimed"),
            ("entries_requeued", "requeued"),
            ("items_reconciled", "reconciled"),
            ("entries_rejected", "rejected"),
            ("entries_promoted", "promoted"),
        )
    ]
    dead = f"max by (queue) (streamworkers_queue_dead_items{{{_QUEUE}}})"
    return Section(
        2,
        "Throughput",
        [
            timeseries(
                About(
                    21,
                    "Throughput by outcome",
                    "Are items finished as fast as they are enqueued? Failed ones here are dead: see Failures on the"
                    " board Tonight.",
                ),
                throughput,
                Look(unit="ops", minimum=0),
                Size(12, 8),
            ),
            timeseries(
                About(
                    22,
                    "Throughput by job",
                    "Which jobs does the pool execute, and how fast? A job at zero with a backlog has no worker.",
                ),
                [_rate("streamworkers_items_finished_total", "queue, job")],
                Look(unit="ops", minimum=0),
                Size(12, 8),
                stacked=True,
            ),
            timeseries(
                About(
                    23,
                    "Retried, snoozed, fenced, dropped",
                    "How much work is repeated or delayed? For many retries, read the errors on the board Runs. Fenced"
                    " results come from workers that were believed dead: is the lease too short for the machine?",
                ),
                rest,
                Look(unit="ops", minimum=0),
                Size(8, 8),
            ),
            timeseries(
                About(
                    24,
                    "Reclaimed, requeued, reconciled",
                    "How many entries came from workers that ended, or were lost by Redis? A steady rate means that"
                    " supervisors vanish or Redis loses data: look at the ended workers.",
                ),
                moved,
                Look(unit="ops", minimum=0),
                Size(8, 8),
            ),
            timeseries(
                About(
                    25,
                    "Dead items over time",
                    "When did items run out of attempts? After a step up, see `streamworkers dead list`.",
                ),
                [promql(dead, "{{queue}}")],
                Look(unit="short", minimum=0),
                Size(8, 8),
            ),
        ],
    )


def _times() -> Section:
    panels = (
        (31, "Wait p50, p95, p99", "streamworkers_batch_wait_seconds", "s"),
        (32, "Duration of a call p50, p95, p99", "streamworkers_batch_duration_seconds", "s"),
        (33, "Items in a call p50, p95, p99", "streamworkers_batch_items", "short"),
    )
    texts = (
        "How long do items wait from enqueue to execution? If the wait grows with the backlog, add workers.",
        "How long does one call of a handler take? Calls that reach the job's time limit are killed.",
        "How many items does one call execute? One at a time means slow items, or isolated ones after a crash.",
    )
    return Section(
        3,
        "Latency",
        [
            timeseries(About(number, title, text), _quantiles(metric), Look(unit=unit, minimum=0), Size(8, 8))
            for (number, title, metric, unit), text in zip(panels, texts, strict=True)
        ],
    )


def _workers() -> Section:
    ends = "sum by (cause) (increase(streamworkers_worker_ends_total[$__rate_interval]))"
    return Section(
        4,
        "Workers",
        [
            timeseries(
                About(
                    41,
                    "Busy and idle slots, and how many are needed",
                    "Would more workers help? Yes while `needed` stays above the slots; scale in when most are idle.",
                ),
                [
                    promql("sum by (state) (streamworkers_workers)", "{{state}}"),
                    promql("sum(streamworkers_worker_slots)", "slots"),
                    promql(_WORKERS_NEEDED, "needed"),
                ],
                Look(unit="short", decimals=0, minimum=0),
                Size(12, 8),
            ),
            timeseries(
                About(
                    42,
                    "Workers that ended, by cause",
                    "Why do workers end? `stopped` is a normal end; `timeout`, `memory` and `silent` were killed for"
                    " too long a call, too much memory or no sign of life; the event worker_ended in the log has the"
                    " reason.",
                ),
                [promql(ends, "{{cause}}")],
                Look(unit="short", minimum=0),
                Size(12, 8),
                style="bars",
                stacked=True,
            ),
            _table_of_workers(),
            _table_of_supervisors(),
            timeseries(
                About(
                    45,
                    "Memory of workers",
                    "Does a worker grow without end? Limit it with `--max-memory-mb` and look for the leak in its job."
                    " What workers share is not counted.",
                ),
                [
                    promql(
                        "sum by (instance, slot) (streamworkers_worker_private_memory_bytes)", "{{instance}} {{slot}}"
                    )
                ],
                Look(unit="bytes", minimum=0),
                Size(8, 8),
            ),
            timeseries(
                About(
                    46,
                    "CPU time of workers",
                    "Do workers compute or wait? Busy slots that use little CPU time wait for PostgreSQL or a"
                    " provider.",
                ),
                [
                    promql(
                        "sum by (instance, slot) (rate(streamworkers_worker_cpu_seconds_total[$__rate_interval]))",
                        "{{instance}} {{slot}}",
                    )
                ],
                Look(unit="percentunit", minimum=0),
                Size(8, 8),
            ),
            timeseries(
                About(
                    48,
                    "Undecided items",
                    "Which queue has items that are executed again and again, because each time a service seems away"
                    " to their handler? `streamworkers doctor` names them.",
                ),
                [promql(f"sum by (queue) (streamworkers_items_undecided{{{_QUEUE}}})", "{{queue}}")],
                Look(unit="short", decimals=0, minimum=0, thresholds=any_is_bad()),
                Size(8, 8),
            ),
            timeseries(
                About(
                    47,
                    "Requeue after a death p50, p95, p99",
                    "How long after a worker died did another one start its items? It should be at most the lease.",
                ),
                _quantiles("streamworkers_requeue_duration_seconds", _QUEUE),
                Look(unit="s", minimum=0, no_value="no worker died"),
                Size(8, 8),
            ),
        ],
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
    columns = (column("memory", "bytes"), column("CPU", "percentunit"))
    return table(about, queries, Look(unit="short", columns=columns), Size(12, 8), transformations=merged(names))


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
        "Value #D": "finished in 5 min",
    }
    queries = [
        promql_table('max by (instance) (up{component="worker"})'),
        promql_table("sum by (instance) (streamworkers_worker_slots)"),
        promql_table('sum by (instance) (streamworkers_workers{state="busy"})'),
        promql_table("sum by (instance) (increase(streamworkers_items_finished_total[5m]))"),
    ]
    columns: tuple[Json, ...] = (
        column("up", "short", steps=below(1, 1)),
        column("supervisor", to=link("stores", "/d/streamworkers-stores")),
    )
    look = Look(unit="short", decimals=0, columns=columns)
    return table(about, queries, look, Size(12, 8), transformations=merged(names))


def board() -> Board:
    """The board, by queue and job."""
    return Board(
        uid="streamworkers-queues",
        title="Queues and workers",
        description="Does the pool keep up, what is stuck, and would more workers help?",
        sections=[_at_a_glance(), _rates(), _times(), _workers()],
        variables=[
            labels_of("queue", "streamworkers_queue_entries", "queue"),
            labels_of("job", 'streamworkers_items_started_total{queue=~"$queue"}', "job"),
            one_of("drain", "empty within", [("10 min", "600"), ("2 min", "120"), ("30 min", "1800")]),
        ],
        since="now-3h",
        annotated=("Worker kills", "Deploys"),
    )
