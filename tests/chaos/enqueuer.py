"""A short-lived process that enqueues or submits one run: `python -m chaos.enqueuer`, the request as JSON on its input.

It says `ready` when everything is loaded and connected, so that whoever wants to kill it in the middle of the enqueue
knows when that begins, and prints the run's id in the end.
"""

import json
import sys

import psycopg

from streamworkers.config import load_settings
from streamworkers.database import connect
from streamworkers.engine.enqueue import enqueue, enqueue_many
from streamworkers.engine.job import RunRequest
from streamworkers.engine.redis.streams import open_streams
from streamworkers.engine.registry import installed_jobs
from streamworkers.errors import ServiceUnreachableError, UnknownJobError

AWAY = 75


def main() -> int:
    """Enqueue or submit; exits with 75 if the request may be repeated: a service or the job's supervisor is away."""
    words = json.load(sys.stdin)
    is_submitted = words.pop("is_submitted")
    words["symbols"] = tuple(words["symbols"])
    request = RunRequest(**words)
    settings = load_settings()
    assert settings.redis_url is not None
    assert settings.database_url is not None
    registry = installed_jobs()
    streams = open_streams(settings.redis_url.get_secret_value(), settings.key_prefix)
    try:
        with connect(settings.database_url.get_secret_value(), application="chaos-enqueuer") as connection:
            print("ready", flush=True)
            if is_submitted:
                run_id = enqueue_many(connection, [request])[0].id
            else:
                run_id = enqueue(connection, streams, registry, request)[0].id
    except (ServiceUnreachableError, psycopg.OperationalError, UnknownJobError):
        return AWAY
    finally:
        streams.close()
    print(run_id, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
