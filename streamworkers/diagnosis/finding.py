"""The shapes of diagnosis: a check, and what it finds."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg

from streamworkers.diagnosis.snapshot import Snapshot
from streamworkers.errors import StreamworkersError
from streamworkers.faults import describe, find_fault

NOTE, WARNING, ERROR = "note", "warning", "error"
SEVERITIES = (ERROR, WARNING, NOTE)
_UNREADABLE = "mend or delete the row or key that the error is about; without such a one, report it"


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem that a check reports.

    `where` names the thing and `what` says what is wrong with it. `fix`, if any, repairs it and is safe to repeat. The
    pool corrects an `is_transient` finding by itself, so it becomes a note. The check sets `check`, `severity` and
    `advice`.
    """

    where: str
    what: str
    fix: Callable[[], object] | None = field(default=None, repr=False, compare=False)
    is_transient: bool = False
    check: str = ""
    severity: str = NOTE
    advice: str = ""
    fixed: bool = False

    @property
    def is_wrong(self) -> bool:
        """True if somebody has to act."""
        return self.severity != NOTE and not self.fixed

    def as_dict(self) -> dict[str, Any]:
        """The finding as plain values, for JSON."""
        names = ("severity", "where", "what", "advice", "fixed")
        return {"kind": self.check, **{name: getattr(self, name) for name in names}}


@dataclass(frozen=True, slots=True)
class Check:
    """One row of the table of checks.

    `meaning` says what a finding means, `fix` what `doctor --fix` does, and `by_hand` what is left for people; an empty
    text stands for nothing. A cheap check reads a bounded amount of data and is right on a single look. `alert` is the
    Prometheus alert for the same problem.
    """

    name: str
    component: str
    severity: str
    look: Callable[[Snapshot], Iterable[Finding]]
    meaning: str
    fix: str = ""
    by_hand: str = ""
    is_cheap: bool = False
    alert: str = ""

    def find(self, snapshot: Snapshot) -> list[Finding]:
        """Return what is wrong in a snapshot; if the check cannot read it, that is the finding."""
        try:
            found = list(self.look(snapshot))
        except StreamworkersError:
            raise
        except Exception as error:  # a row or key of another program must not keep the other checks from looking
            if isinstance(error, psycopg.Error) and (find_fault(error) is not None or snapshot.connection.closed):
                raise
            what = f"the check {self.name} cannot read what it looks at: {describe(error)}"
            return [Finding(self.component, what, check=self.name, severity=ERROR, advice=_UNREADABLE)]
        return [
            replace(
                finding,
                check=self.name,
                severity=NOTE if finding.is_transient else self.severity,
                advice=f"--fix: {self.fix}" if finding.fix else self.by_hand,
            )
            for finding in found
        ]

    def mark_fixed(self, finding: Finding) -> Finding:
        """Return a finding of this check as one that is gone."""
        return replace(finding, fixed=True, advice=f"done: {self.fix}" if finding.fix else "gone")
