"""``python -m musicgen.app`` is the ``musicgen`` command, for environments whose scripts folder is not on PATH."""

import sys

from musicgen.app.start import main

sys.exit(main())
