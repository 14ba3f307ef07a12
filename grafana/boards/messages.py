"""Messages: does what other programs send take effect, how soon, what is not accepted, and is one of them flooding?"""

from grafana.columns import column, run_column, series_colour, stat_field, state_column
from grafana.dashboard import Board
from grafana.layout import Section
from grafana.looks import DAY_AND_CLOCK, ID, Look, above, any_is_bad, any_needs_a_look, limit
from grafana.panels import About, Panel, Size, barchart, stat, table, timeseries
from grafana.queries import promql, sql, sql_series
from grafana.variables import rows_of

# A row counts those of an hour beyond the first ones; every other row is one message.
_CHOSEN = "$__timeFilter(m.received_at) AND m.channel = ANY (ARRAY[${channel:sqlstring}]::text[])"
_STATES = f"""
    SELECT coalesce(sum(m.times) FILTER (WHERE m.state = 'accepted'), 0) AS "accepted",
           coalesce(sum(m.times) FILTER (WHERE m.state = 'repeated'), 0) AS "repeated",
           coalesce(sum(m.times) FILTER (WHERE m.state = 'ignored'), 0) AS "ignored",
           coalesce(sum(m.times) FILTER (WHERE m.state = 'rejected' AND m.replayed_at IS NULL), 0) AS "rejected",
           count(*) FILTER (WHERE m.replayed_at IS NOT NULL) AS "replayed"
    FROM received_messages m
    WHERE {_CHOSEN}
"""
# Between the same two clocks for each message, so that a difference of the clocks moves all of them alike.
_DELAYS = f"""
    SELECT m.sent_at AS time, coalesce(m.kind, m.source) AS metric,
           greatest(0, extract(epoch FROM min(r.started_at) - m.sent_at))::double precision AS seconds
    FROM received_messages m
    JOIN runs r ON r.id = ANY (m.runs)
    WHERE {_CHOSEN} AND m.state = 'accepted' AND r.started_at IS NOT NULL
    GROUP BY m.id
    ORDER BY 1
    LIMIT 2000
"""
_CHANNELS = f"""
    SELECT m.channel, coalesce(m.kind, '(none)') AS type, max(coalesce(m.last_at, m.received_at)) AS "newest",
           sum(m.times) FILTER (WHERE m.state = 'accepted') AS "accepted",
           sum(m.times) FILTER (WHERE m.state IN ('repeated', 'ignored')) AS "without effect",
           sum(m.times) FILTER (WHERE m.state = 'rejected') AS "rejected",
           percentile_cont(0.5) WITHIN GROUP (ORDER BY d.seconds) AS "p50",
           percentile_cont(0.99) WITHIN GROUP (ORDER BY d.seconds) AS "p99"
    FROM received_messages m
    LEFT JOIN LATERAL (
        SELECT greatest(0, extract(epoch FROM r.started_at - m.sent_at))::double precision AS seconds
        FROM runs r
        WHERE r.id = ANY (m.runs) AND m.state = 'accepted' AND r.started_at IS NOT NULL
        ORDER BY r.started_at
        LIMIT 1
    ) d ON true
    WHERE {_CHOSEN}
    GROUP BY 1, 2
    ORDER BY 1, 2
    LIMIT 100
"""
_REASONS = f"""
    SELECT m.reason, coalesce(sum(m.times) FILTER (WHERE m.state = 'rejected'), 0) AS "rejected",
           coalesce(sum(m.times) FILTER (WHERE m.state = 'ignored'), 0) AS "ignored"
    FROM received_messages m
    WHERE {_CHOSEN} AND m.state IN ('rejected', 'ignored')
    GROUP BY 1
    ORDER BY sum(m.times) DESC, 1
    LIMIT 15
"""
_UNACCEPTED = f"""
    SELECT m.received_at AS "received", m.state, m.kind AS type, m.sender AS "from", m.reason, m.detail, m.times,
           m.replayed_at AS "replayed", m.id AS message
    FROM received_messages m
    WHERE {_CHOSEN} AND m.state IN ('rejected', 'ignored')
    ORDER BY m.state = 'rejected' DESC, m.received_at DESC, m.id DESC
    LIMIT 100
"""
_STARTED = f"""
    SELECT m.received_at AS "received", m.kind AS type, m.sender AS "from", m.external_id AS "job id", r.id AS run,
           r.job, r.status, extract(epoch FROM r.started_at - m.sent_at)::double precision AS "began after",
           extract(epoch FROM r.completed_at - m.sent_at)::double precision AS "done after"
    FROM received_messages m
    JOIN runs r ON r.id = ANY (m.runs)
    WHERE {_CHOSEN}
    ORDER BY m.received_at DESC, r.id DESC
    LIMIT 100
"""
_SENDERS = f"""
    SELECT date_trunc('hour', m.received_at) AS time, coalesce(m.sender, m.kind, m.reason) AS metric,
           sum(m.times)::double precision AS messages
    FROM received_messages m
    WHERE {_CHOSEN}
    GROUP BY 1, 2
    ORDER BY 1
"""
_FLOODS = f"""
    SELECT m.counted_from AS "hour", m.channel, m.state, m.reason, m.times, m.last_at AS "last"
    FROM received_messages m
    WHERE {_CHOSEN} AND m.counted_from IS NOT NULL
    ORDER BY m.times DESC, m.id DESC
    LIMIT 50
"""


def _effect() -> Section:
    return Section(
        1,
        "Does what other programs send take effect?",
        [
            stat(
                About(
                    11,
                    "Messages in this time",
                    "Did every message do what it asks for? Repeated ones had done it already: programs send twice."
                    " Ignored ones ask for nothing, or their schedule is paused. What is rejected started nothing: the"
                    " table below has the reasons, and `streamworkers messages replay MESSAGE` does it when the cause"
                    " is mended.",
                ),
                [sql(_STATES)],
                Look(
                    unit="none",
                    decimals=0,
                    columns=(stat_field("rejected", any_is_bad()), stat_field("ignored", any_needs_a_look())),
                ),
                Size(24, 4),
            ),
            _channels(),
        ],
    )


def _channels() -> Panel:
    columns = (
        column("channel", width=250),
        column("newest", DAY_AND_CLOCK, width=115),
        column("accepted", "short", width=95),
        column("without effect", "short", width=95),
        column("rejected", "short", width=95, steps=(("text", None), ("red", 1))),
        column("p50", "s", width=85),
        column("p99", "s", width=85, steps=(("text", None), ("orange", 60))),
    )
    about = About(
        12,
        "Each channel and type",
        "Has the message come that the evening waits for, and how long did the runs of each type wait to begin? A"
        " channel whose newest message is old has lost its program: ask who sends it.",
    )
    return table(
        about, [sql(_CHANNELS)], Look(unit="none", columns=columns, no_value="No message has come"), Size(24, 7)
    )


def _unaccepted() -> Section:
    columns = (
        column("received", DAY_AND_CLOCK, width=110),
        state_column("state", 80),
        column("type", width=155),
        column("from", width=110),
        column("reason", width=120),
        column("times", "none", width=65),
        column("replayed", DAY_AND_CLOCK, width=110),
        column("message", ID, width=85),
    )
    bars = (series_colour("rejected", "red"), series_colour("ignored", "orange"))
    return Section(
        2,
        "What is not accepted, and why?",
        [
            barchart(
                About(
                    21,
                    "Rejected and ignored, by reason",
                    "Is it one cause or many? One reason that leads by far is one program with one fault.",
                ),
                [sql(_REASONS)],
                Look(unit="short", columns=bars, no_value="Every message was accepted"),
                Size(9, 7),
                x="reason",
                stacked=True,
            ),
            _floods(),
            table(
                About(
                    22,
                    "Messages that were not accepted",
                    "Which program sends what nobody can use? Correct it by the detail; docs/reference/events.md has"
                    " the formats. `streamworkers messages show MESSAGE` prints the message itself.",
                ),
                [sql(_UNACCEPTED)],
                Look(unit="none", columns=columns, no_value="Every message was accepted"),
                Size(24, 9),
            ),
        ],
    )


def _floods() -> Panel:
    columns = (
        column("hour", DAY_AND_CLOCK, width=110),
        state_column("state", 80),
        column("reason", width=110),
        column("times", "none", width=70, steps=(("text", None), ("orange", 1000))),
        column("last", DAY_AND_CLOCK, width=110),
    )
    about = About(
        23,
        "Floods",
        "Of which kind of message were there so many in an hour that they were only counted? The first ones of that"
        " hour have rows of their own: `streamworkers messages list --channel CHANNEL`.",
    )
    return table(
        about, [sql(_FLOODS)], Look(unit="none", columns=columns, no_value="No flood in this time"), Size(15, 7)
    )


def _delays() -> Section:
    columns = (
        column("received", DAY_AND_CLOCK, width=110),
        column("type", width=155),
        column("from", width=110),
        run_column(),
        column("job", width=125),
        state_column("status", 115),
        column("began after", "s", width=95, steps=above(60, 600)),
        column("done after", "s", width=95),
    )
    return Section(
        3,
        "How soon does a message have its effect?",
        [
            timeseries(
                About(
                    31,
                    "From sending to the begin of the run",
                    "Do messages wait? A second or two is usual. All of them late: no scheduler was listening, or"
                    " workers are busy: see the board Queues and workers. One type late: its queue.",
                ),
                [sql_series(_DELAYS)],
                Look(unit="s", minimum=0, thresholds=limit(60), no_value="No message has started a run"),
                Size(24, 7),
                style="points",
            ),
            table(
                About(
                    32,
                    "Runs that messages started",
                    "What came of a message? The job id is that of the program that sent it; the run leads to its"
                    " items.",
                ),
                [sql(_STARTED)],
                Look(unit="none", columns=columns, no_value="No message has started a run"),
                Size(24, 8),
            ),
        ],
    )


def _senders() -> Section:
    outcomes = "sum by (source, outcome) (rate(streamworkers_messages_total[$__rate_interval])) * 60"
    return Section(
        4,
        "Does one of them send too much?",
        [
            timeseries(
                About(
                    41,
                    "Received in an hour, by sender",
                    "Who sends how much? A sender that is suddenly far above its other hours repeats itself: stop that"
                    " program. Those without a sender are named by their type, or by why they were not accepted.",
                ),
                [sql_series(_SENDERS)],
                Look(unit="short", decimals=0, minimum=0, no_value="No message has come"),
                Size(12, 8),
                style="bars",
                stacked=True,
            ),
            timeseries(
                About(
                    42,
                    "Messages a minute, as schedulers count them",
                    "Do schedulers read as much as is sent? They count each copy, and also what had to be dropped"
                    " because a stream was full (`rejected`).",
                ),
                [promql(outcomes, "{{source}} {{outcome}}")],
                Look(unit="short", minimum=0, no_value="No message has come"),
                Size(12, 8),
            ),
        ],
    )


def board() -> Board:
    """The board, by channel."""
    channels = "SELECT DISTINCT channel FROM received_messages ORDER BY channel"
    return Board(
        uid="streamworkers-messages",
        title="Messages",
        description="Does what other programs send take effect, how soon, what is not accepted, and is one flooding?",
        sections=[_effect(), _unaccepted(), _delays(), _senders()],
        variables=[rows_of("channel", channels, several=True)],
        since="now-24h",
    )
