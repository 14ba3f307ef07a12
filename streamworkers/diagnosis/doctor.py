"""Runs every check twice, and repairs what can be repaired without a risk.

It is right on a running pool: what one look finds may be in transit, so only what is wrong in both looks is a finding.
What the pool corrects by itself is a note. Every fix does what a service of the pool or a person with a command would
do; each is safe to repeat and safe beside a working pool.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from streamworkers.config import Settings
from streamworkers.database import Connection
from streamworkers.diagnosis.checks import CHECKS
from streamworkers.diagnosis.finding import SEVERITIES, Finding
from streamworkers.diagnosis.snapshot import Snapshot
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.engine.services.outbox_relay import OutboxRelay

SECOND_LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Doctor:
    """Examines the services, the queues of all installed jobs, and everything else under the prefix.

    `relay` publishes the outbox.
    """

    connection: Connection
    streams: Streams
    registry: Registry
    relay: OutboxRelay
    settings: Settings

    def examine(self) -> list[Finding]:
        """Return what two looks find, the worst first."""
        first_look = self._snapshot(None)
        first = _run_checks(first_look)
        if not first:
            return []
        time.sleep(SECOND_LOOK_SECONDS)
        seen = {_identify(finding) for finding in first}
        findings = [finding for finding in _run_checks(self._snapshot(first_look)) if _identify(finding) in seen]
        return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))

    def repair(self, findings: Sequence[Finding]) -> list[Finding]:
        """Apply the fixes of these findings and look again; returns what is gone, then what is still wrong."""
        for finding in findings:
            if finding.fix:
                finding.fix()
        left = self.examine()
        still = {_identify(finding) for finding in left}
        gone = [finding for finding in findings if _identify(finding) not in still]
        return [CHECKS[finding.check].mark_fixed(finding) for finding in gone] + left

    def _snapshot(self, earlier: Snapshot | None) -> Snapshot:
        return Snapshot(self.connection, self.streams, self.registry, self.settings, relay=self.relay, earlier=earlier)


def _run_checks(snapshot: Snapshot) -> list[Finding]:
    return [finding for check in CHECKS.values() for finding in check.find(snapshot)]


def _identify(finding: Finding) -> tuple[str, str]:
    return finding.check, finding.where
