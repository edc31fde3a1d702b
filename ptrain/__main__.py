"""`python -m ptrain RECIPE key=value …`, so that `accelerate launch -m ptrain` works too."""

import sys

from ptrain.recipe import main

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        print("usage: python -m ptrain RECIPE [key=value …]", file=sys.stderr)
        sys.exit(0 if sys.argv[1:2] in (["-h"], ["--help"]) else 2)
    main(sys.argv[1], sys.argv[2:])
