"""A pool at work now: the system of tests/watching, a minute old."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from psycopg import sql

from harness import SAMPLE_JOBS, ServiceUrls
from patience import paced
from preview.scene import Scene
from preview.spans import Span
from services import environment_of, own_database, quick_settings
from streamworkers.database import connect
from streamworkers.engine.registry import installed_jobs
from streamworkers.migrations import create_roles
from watching.stage import watched_system

READER = "streamworkers_readonly"


@contextmanager
def busy(urls: ServiceUrls, folder: Path) -> Iterator[Scene]:
    """Two supervisors, a scheduler and a Prometheus; every board is looked at since their start."""
    sys.path.insert(0, str(SAMPLE_JOBS))
    with own_database(urls) as url:
        environment = environment_of(quick_settings(urls.redis, url, "preview-busy"))
        with connect(url) as owner:
            create_roles(owner)
        with watched_system(environment, folder, installed_jobs()) as stage, connect(url) as reader:
            reader.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(READER)))
            now = datetime.now(UTC)
            began = datetime.fromtimestamp(stage.began_at, UTC)
            yield Scene(
                name="busy",
                connection=reader,
                prometheus=stage.prometheus,
                now=now,
                scrape=timedelta(seconds=round(paced(1))),
                span=lambda uid: None if uid == "streamworkers-market" else Span(began, now),
            )
