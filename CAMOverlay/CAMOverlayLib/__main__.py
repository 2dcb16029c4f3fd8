"""``python -m CAMOverlayLib`` is ``cam-overlay``."""

import sys

from .cli import main

sys.exit(main())
