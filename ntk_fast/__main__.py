"""``python -m ntk_fast``: the command line, ntk-fast."""

import sys

from ntk_fast.cli import main

if __name__ == "__main__":
    sys.exit(main())
