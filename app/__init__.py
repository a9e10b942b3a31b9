"""The only place where music and model meet: commands, generation, rendering, pictures.

Nothing is imported here, so that ``musicgen --help`` and a complaint about a mistyped path answer at once.
"""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when onnxruntime is imported, which would report its use otherwise
