"""`python -m coval_demo`: what `make demo` runs."""

import os
import sys

from coval_demo import ENTRIES, main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ.pop(ENTRIES, "")))
