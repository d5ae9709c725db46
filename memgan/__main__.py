"""``python -m memgan``: the same as the console command ``memgan``."""

import sys

from memgan.apps.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
