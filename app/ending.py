"""How a command ends: with an exit code and, if there is a problem, with one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from musicgen.app.errors import (
    BAD_INPUT,
    ENVIRONMENT,
    INTERRUPTED,
    STOPPED,
    TERMINATED,
    MusicgenError,
    cannot_write,
    no_room,
)
from musicgen.model.stop import Left, unwinding

OUT_OF_MEMORY = "out of memory: ask for less at once (--num-samples, --context) or use a larger machine"


def exit_code(run: Callable[[], int]) -> int:
    """The exit code of what is run, whatever goes wrong; a problem is told in a line."""
    try:
        code = run()
        if sys.stdout is not None:
            sys.stdout.flush()  # a disk that is full is told here
        return code
    except MusicgenError as error:
        return _complain(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _complain(STOPPED, INTERRUPTED)
    except Left as left:
        return _complain(STOPPED, left.exit_code)
    except SystemExit as stop:
        if stop.code != TERMINATED:
            raise
        return _complain(STOPPED, TERMINATED)
    except BrokenPipeError:
        # Whoever read our output has gone.  Python would complain about it once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ENVIRONMENT
    except MemoryError:
        return _complain(OUT_OF_MEMORY, ENVIRONMENT)
    except FloatingPointError as error:
        return _complain(str(error), ENVIRONMENT)
    except ImportError as error:
        name = (error.name or str(error)).split(".")[0]
        return _complain(f"{name} is not installed or broken ({error}): see musicgen doctor", ENVIRONMENT)
    except Exception as error:  # the last resort; a person gets a line, a developer gets the traceback on request
        if os.environ.get("MUSICGEN_TRACEBACK"):
            raise
        if lack := no_room(error):
            return _complain(str(cannot_write("a file", lack)), ENVIRONMENT)
        if "RESOURCE_EXHAUSTED" in str(error):  # how XLA says it
            return _complain(OUT_OF_MEMORY, ENVIRONMENT)
        kind = type(error).__name__
        return _complain(
            f"unexpected {kind}: {error} (please report it; MUSICGEN_TRACEBACK=1 shows where)", ENVIRONMENT
        )


def _complain(message: str, code: int) -> int:
    if stopped := unwinding():  # a library may have made another error of it
        message, code = STOPPED, stopped
    assert code in (BAD_INPUT, ENVIRONMENT, INTERRUPTED, TERMINATED)
    print(f"musicgen: error: {' '.join(message.split())}", file=sys.stderr)
    return code
