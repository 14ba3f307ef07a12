"""Do the providers of bars answer, and does the budget of calls suffice?"""

from grafana.columns import column, series_colour, state_column
from grafana.layout import Section
from grafana.looks import DAY_AND_CLOCK, Look
from grafana.panels import About, Size, table, timeseries
from grafana.queries import promql, sql

_OUTAGES = """
    SELECT provider, CASE WHEN ended_at IS NULL THEN 'away' ELSE 'back' END AS "is", since,
           extract(epoch FROM coalesce(ended_at, $__timeTo()::timestamptz) - since)::double precision AS "for", probes,
           error
    FROM provider_outages
    ORDER BY since DESC
"""


def section() -> Section:
    """The section of calls to providers."""
    calls = "sum by (provider, answer) (rate(streamworkers_provider_calls_total[$__rate_interval])) * 60"
    purposes = "sum by (provider, purpose) (rate(streamworkers_provider_calls_total[$__rate_interval])) * 60"
    counted = "max by (provider) (streamworkers_provider_counted_calls)"
    waits = "sum by (provider) (rate(streamworkers_provider_waits_total[$__rate_interval])) * 60"
    stored = "sum by (timeframe) (rate(streamworkers_provider_bars_total[$__rate_interval])) * 60"
    rejected = "sum by (rule) (rate(streamworkers_provider_bars_rejected_total[$__rate_interval])) * 60"
    fixed = tuple(series_colour(f"massive {name}", colour) for name, colour in (("ok", "green"), ("error", "red")))
    return Section(
        5,
        "Do the providers answer, and does the budget of calls suffice?",
        [
            timeseries(
                About(
                    51,
                    "Calls a minute, by answer",
                    "Does a provider answer? Errors of one symbol fail its item; errors of all are an outage, see"
                    " beside.",
                ),
                [promql(calls, "{{provider}} {{answer}}")],
                Look(unit="short", minimum=0, columns=fixed, no_value="no provider was called"),
                Size(8, 8),
            ).over("24h"),
            timeseries(
                About(
                    55,
                    "Calls a minute, by purpose",
                    "What are the calls spent on? Beside new bars (`load`, `day_of_all`) a load asks for splits and"
                    " listings, a second time for what an answer left out (`confirm`), and again for old bars (`check`,"
                    " `reload`).",
                ),
                [promql(purposes, "{{provider}} {{purpose}}")],
                Look(unit="short", minimum=0, no_value="no provider was called"),
                Size(8, 8),
            ).over("24h"),
            timeseries(
                About(
                    52,
                    "Budget: calls that count, or waited",
                    "Is the provider's rate limit what holds a load up? While calls wait, more workers do not help: a"
                    " plan with more calls does.",
                ),
                [promql(counted, "{{provider}}: in the last minute"), promql(waits, "{{provider}}: waits a minute")],
                Look(unit="short", decimals=0, minimum=0, no_value="no provider was called"),
                Size(8, 8),
            ).over("24h"),
            table(
                About(
                    53,
                    "Outages",
                    "Is a provider away, since when, and what did it answer? All loads wait, one process probes it.",
                ),
                [sql(_OUTAGES)],
                Look(
                    unit="none",
                    columns=(
                        column("provider", width=100),
                        state_column("is", 70),
                        column("since", DAY_AND_CLOCK, width=115),
                        column("for", "s", width=95),
                        column("probes", width=70),
                    ),
                    no_value="no provider has been away",
                ),
                Size(12, 7),
            ),
            timeseries(
                About(
                    54,
                    "Bars stored and rejected a minute",
                    "Do bars arrive, and are they good? Rejected bars break a rule of docs/guides/loading.md.",
                ),
                [promql(stored, "{{timeframe}}"), promql(rejected, "rejected: {{rule}}")],
                Look(unit="short", minimum=0, no_value="no bars were loaded"),
                Size(12, 7),
            ).over("24h"),
        ],
    )
