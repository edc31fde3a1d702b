"""What the three command lines share: exit codes and one-line errors. Imports nothing heavy.

0 done, 1 a known error (one line on stderr), 2 usage, 130 interrupted.
"""

import os
import sys
from collections.abc import Callable
from typing import Any

from pbranch.errors import BranchError


def run(app: Callable[..., Any]) -> None:
    """Call a typer app; known errors become one line on stderr, unknown ones keep the traceback."""
    try:
        app()
    except BranchError as e:
        fail(str(e))
    except BrokenPipeError:  # the reader went away (`| head`): not an error of ours
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as e:
        fail(f"{e.filename}: {e.strerror}" if e.filename else str(e.strerror or e))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def fail(message: str) -> None:
    """Print `message` on one line of stderr and exit with 1."""
    print("error: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(1)
