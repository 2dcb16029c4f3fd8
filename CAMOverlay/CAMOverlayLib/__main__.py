"""``python -m CAMOverlayLib`` is ``cam-overlay``."""

import sys

try:
    from .cli.main import main

    sys.exit(main())
except KeyboardInterrupt:  # before the command began, or after it ended
    sys.exit(130)
