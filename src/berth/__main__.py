"""`python -m berth` is the `berth` command."""

from berth.cli.entry import main

if __name__ == "__main__":
    main()
