"""`python -m surgrad`: the command line."""

import sys

from surgrad.cli import main

if __name__ == "__main__":
    sys.exit(main())
