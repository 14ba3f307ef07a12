"""Queues and workers: does the pool keep up, and would more workers help?"""

from grafana.dashboard import Board
from grafana.layout import Section
from grafana.panels import (
    About,
    Look,
    Panel,
    Size,
    above,
    any_is_bad,
    below,
    column,
    link,
    merged,
    stat,
    table,
    timeseries,
)
from grafana.queries import Json, Query, promql, promql_now, promql_table
from grafana.variables import labels_of, one_of

_QUEUE = 'queue=~"$queue"'
_JOB = 'queue=~"$queue", job=~"$job"'
# Seconds of one item, by the last hour, so that a hint stays when the pool has just become idle.
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
    waiting = About(11, "Waiting", "How many items has nobody taken yet? If it grows, see the scaling hint.")
    oldest = About(
        12,
        "Oldest item",
        "How long has the oldest item been in the queue? Minutes while workers are idle: one is poisonous or its job"
        " is unknown to them; see `streamworkers doctor`.",
    )
    busy = About(
        13,
        "Busy slots",
        "Which share of the worker slots works? Near 100 % with a backlog: add workers. Near 0 % with one: they read"
        " other queues.",
    )
    hint = About(
        14,
        "Workers needed",
        "How many workers would empty the queues within the time chosen above, at the pace of the last hour? Compare"
        " with the slots; scale when it stays above them.",
    )
    slots = About(15, "Slots", "How many worker processes should there be, over all supervisors? None: start some.")
    dead = About(
        16,
        "Dead items",
        "How many items used up their attempts and wait for a person? `streamworkers dead list`, then `replay`.",
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
                    "What is in Redis: waiting for a worker, in hand (pending), or put off (delayed)? Waiting that"
                    " grows means too few workers; pending without progress means hanging ones.",
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
                    "Does anything wait for too long? A line that climbs steadily is one item that nobody finishes.",
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
        promql(f"sum(rate(streamworkers_items_started_total{{{_JOB}}}[$__rate_interval]))", "started"),
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
            ("entries_requeued", "handed over"),
            ("items_reconciled", "added again"),
            ("entries_rejected", "rejected"),
            ("entries_promoted", "promoted"),
        )
    ]
    dead = f"max by (queue) (streamworkers_queue_dead_items{{{_QUEUE}}})"
    return Section(
        2,
        "What is done",
        [
            timeseries(
                About(
                    21,
                    "Throughput by outcome",
                    "Are items finished as fast as they come? Failed ones here are dead: see What failed on Tonight.",
                ),
                throughput,
                Look(unit="ops", minimum=0),
                Size(12, 8),
            ),
            timeseries(
                About(
                    22,
                    "Throughput by job",
                    "Which job does the pool work for, and how fast? One that stands still has no worker.",
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
                    "How much work is done twice or put off? Many retries: read the errors on Runs. Fenced results were"
                    " of workers believed dead: is the lease too short for the machine?",
                ),
                rest,
                Look(unit="ops", minimum=0),
                Size(8, 8),
            ),
            timeseries(
                About(
                    24,
                    "Reclaimed and put back",
                    "How many entries were left by workers that ended, or lost by Redis? A steady rate means that"
                    " supervisors vanish or Redis loses data: look at the worker kills.",
                ),
                moved,
                Look(unit="ops", minimum=0),
                Size(8, 8),
            ),
            timeseries(
                About(
                    25,
                    "Dead items over time",
                    "When did items run out of attempts? After a step upwards: `streamworkers dead list`.",
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
        (32, "Run time of a call p50, p95, p99", "streamworkers_batch_duration_seconds", "s"),
        (33, "Items of a call p50, p95, p99", "streamworkers_batch_items", "short"),
    )
    texts = (
        "How long do items wait from enqueue to execution? It grows with the backlog: add workers.",
        "How long does one call of a handler take? Near the job's time limit, calls are about to be killed.",
        "How many items does a worker take at once? One at a time: each is slow, or runs alone after a crash.",
    )
    return Section(
        3,
        "How long it takes",
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
                    "Would more workers help? Yes while «needed» stays above the slots; scale in when most are idle.",
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
                    "Why do workers end? `timeout` and `signal` are kills: find the item in the logs of the supervisor."
                    " `stopped` is a shutdown, `over` one that reached its limit of items or memory.",
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
                    "Does a worker grow without end? Then bound it with `--max-memory-mb` and look for the leak in its"
                    " job.",
                ),
                [
                    promql(
                        "sum by (instance, slot) (streamworkers_worker_resident_memory_bytes)", "{{instance}} {{slot}}"
                    )
                ],
                Look(unit="bytes", minimum=0),
                Size(8, 8),
            ),
            timeseries(
                About(
                    46,
                    "Processor time of workers",
                    "Do workers compute, or wait? Busy slots with little processor time wait for PostgreSQL.",
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
                    47,
                    "Requeue after a death p50, p95, p99",
                    "How long after a worker died was its work begun elsewhere? It should be at most a lease.",
                ),
                _quantiles("streamworkers_requeue_duration_seconds", _QUEUE),
                Look(unit="s", minimum=0, no_value="nobody died"),
                Size(8, 8),
            ),
        ],
    )


def _table_of_workers() -> Panel:
    about = About(
        43,
        "Worker by worker",
        "Which process uses much memory or no processor? Restart its supervisor if it does not recover by itself.",
    )
    names = {"instance": "supervisor", "slot": "slot", "Value #A": "memory", "Value #B": "processor"}
    queries = [
        promql_table("sum by (instance, slot) (streamworkers_worker_resident_memory_bytes)"),
        promql_table("sum by (instance, slot) (rate(streamworkers_worker_cpu_seconds_total[5m]))"),
    ]
    columns = (column("memory", "bytes"), column("processor", "percentunit"))
    return table(about, queries, Look(unit="short", columns=columns), Size(12, 8), transformations=merged(names))


def _table_of_supervisors() -> Panel:
    about = About(
        44,
        "Supervisor by supervisor",
        "Which supervisors answer, and are their slots filled? One that is down (0) is to be started again.",
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
    """By queue and job."""
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
    )
