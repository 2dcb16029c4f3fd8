"""Starts the worker. Written so that any Python can read it, and say what is wrong with itself."""

import json
import sys

if sys.version_info < (3, 10):  # noqa: UP036
    sys.stdout.write(
        json.dumps(
            {
                "type": "failure",
                "run": "",
                "kind": "WorkerError",
                "message": "The Python %s is version %d.%d; 3.10 or later is needed. Choose another Python."  # noqa: UP031
                % (sys.executable, sys.version_info[0], sys.version_info[1]),
            }
        )
        + "\n"
    )
    sys.stdout.flush()
    sys.exit(1)

from .server import main

sys.exit(main(float(sys.argv[1]) if sys.argv[1:] else 60.0, *sys.argv[2:]))
