"""`streamworkers doctor`: what is wrong with the pool, and what can be mended."""

import click

from streamworkers.cli.session import Session, json_option, print_json, print_table
from streamworkers.database import open_pool
from streamworkers.diagnosis.doctor import Doctor
from streamworkers.engine.host.metrics import PoolMetrics
from streamworkers.engine.registry import installed_jobs
from streamworkers.engine.services.outbox_relay import OutboxRelay


@click.command(short_help="Say what is wrong with the pool; mend it.")
@click.option("--fix", is_flag=True, help="Mend what can be mended without a risk.")
@json_option
def doctor(fix: bool, as_json: bool) -> int:
    """Compare the ledger with Redis and say what is wrong; exit code 1 when something is, or stays so.

    It may be used while workers run. Notes are no faults: the pool takes care
    of them by itself.
    """
    session = Session.open()
    with (
        session.database() as connection,
        session.streams() as streams,
        open_pool(session.database_url, application="streamworkers-cli", max_size=1) as pool,
    ):
        relay = OutboxRelay(pool, streams, PoolMetrics())
        physician = Doctor(connection, streams, installed_jobs(), relay, session.settings)
        findings = physician.examine()
        if fix:
            findings = physician.mend(findings)
    rows = [finding.as_dict() for finding in findings]
    if as_json:
        print_json(rows)
    else:
        rows = [{**row, "description": f"{row['what']} ({row['advice']})"} for row in rows]
        columns = {"severity": "severity", "kind": "kind", "where": "where", "fixed": "fixed"}
        print_table(rows, {**columns, "description": "what"}, "all is well")
    return 1 if any(finding.is_wrong for finding in findings) else 0
