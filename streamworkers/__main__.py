"""`python -m streamworkers`: the same as the command `streamworkers`."""

from streamworkers.cli.main import main

if __name__ == "__main__":
    main()
