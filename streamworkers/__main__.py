"""The command `streamworkers`, also as `python -m streamworkers`; it begins before what takes time is imported."""

import os
import signal


def main() -> None:
    """Run a command. Ctrl-C ends it with exit code 130 and without a word, at whatever it is."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a process in the background ignores it
        # Nothing has begun yet: there is nothing to close.
        signal.signal(signal.SIGINT, lambda _number, _frame: os._exit(130))
    # What is imported stays: looking for garbage in it would take a tenth of a start. The command looks again.
    import gc

    gc.disable()
    from streamworkers.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
