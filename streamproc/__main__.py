"""`python -m streamproc`, where the command itself is not installed."""

import sys

from streamproc.cli import main

if __name__ == "__main__":
    sys.exit(main())
