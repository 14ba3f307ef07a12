"""A client of the pool, as a process that a test can kill: it submits runs in transactions of its own.

    python submitting_client.py DATABASE_URL FIRST LAST

Each number is one transaction, which keeps a mark beside the run. Odd numbers are rolled back. The number is printed
before.
"""

import sys

import psycopg

from streamworkers.client import Client


def main() -> None:
    """Submit a run for each number."""
    url, first, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    with psycopg.connect(url) as connection, Client(url) as client:
        for number in range(first, last + 1):
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()
            connection.execute("INSERT INTO marks (number) VALUES (%s)", (number,))
            client.enqueue("ledger_entry", symbols=[f"S{number}"], key=f"k{number}", connection=connection)
            if number % 2:
                connection.rollback()
            else:
                connection.commit()


if __name__ == "__main__":
    main()
