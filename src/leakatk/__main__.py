"""`python -m leakatk` is the `leakatk` command."""

from leakatk.cli.main import main

if __name__ == "__main__":
    main()
