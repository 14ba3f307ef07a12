"""`streamworkers doctor`."""

import click

from streamworkers.admin.installation import reject_other_installation
from streamworkers.cli.session import Session, json_option, print_json, print_table
from streamworkers.database import open_pool
from streamworkers.diagnosis.doctor import Doctor
from streamworkers.engine.host.metrics import PoolMetrics
from streamworkers.engine.registry import installed_jobs
from streamworkers.engine.services.outbox_relay import OutboxRelay


@click.command(short_help="Run all checks, and repair what they find.")
@click.option("--fix", is_flag=True, help="Repair what can be repaired without a risk.")
@json_option
def doctor(fix: bool, as_json: bool) -> int:
    """Run all checks of the services, the ledger, the queues and the data.

    Exit code 1 when something is wrong, or with --fix when something still is.
    It is safe while workers run. Notes are no faults: the pool corrects them
    by itself.
    """
    session = Session.open()
    with (
        session.database() as connection,
        session.streams() as streams,
        open_pool(session.database_url, application="streamworkers-cli", max_size=1, limits=session.limits) as pool,
    ):
        reject_other_installation(connection, streams)
        relay = OutboxRelay(pool, streams, PoolMetrics())
        physician = Doctor(connection, streams, installed_jobs(), relay, session.settings)
        findings = physician.examine()
        if fix:
            findings = physician.repair(findings)
    rows = [finding.as_dict() for finding in findings]
    if as_json:
        print_json(rows)
    else:
        rows = [{**row, "description": f"{row['what']} ({row['advice']})"} for row in rows]
        columns = {"severity": "severity", "kind": "kind", "where": "where", "fixed": "fixed"}
        print_table(rows, {**columns, "description": "what"}, "all is well")
    return 1 if any(finding.is_wrong for finding in findings) else 0
