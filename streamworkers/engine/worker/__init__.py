"""One worker process: reads entries, executes them, commits their results."""
