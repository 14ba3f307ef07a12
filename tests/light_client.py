"""A program that knows the pool by its client alone: it looks at what that has loaded, and submits across a fork."""

import os
import sys

from streamworkers.client import Client

HEAVY = {"redis", "hiredis", "numpy", "pandas", "talib", "pydantic", "click", "rich", "structlog", "httpx"}


def main() -> None:
    """Submit a run before a fork, in the child, and in the parent after it."""
    with Client() as client:
        client.enqueue("ledger_entry", {"milliseconds": 1}, symbols=["A"], key="before")
        child = os.fork()
        client.enqueue("ledger_entry", symbols=["A"], key="after" if child else "child")
        if not child:
            client.close()
            os._exit(0)
        os.waitpid(child, 0)
        sys.stdout.write(f"{len(client.runs())} runs\n")
    loaded = sorted(HEAVY & sys.modules.keys())
    if loaded:
        sys.exit(f"the client has loaded {', '.join(loaded)}")


if __name__ == "__main__":
    main()
