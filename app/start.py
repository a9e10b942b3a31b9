"""The process of the `musicgen` command: it ends with the code that the command gives, whatever still goes on in it."""

import atexit
import contextlib
import os
import signal
import sys

_codes = [1]


def main() -> int:
    """Run the command of `sys.argv`; returns its exit code, which the process will have."""
    atexit.register(_leave)  # the first to be registered is the last to be called
    if not os.environ.get("MUSICGEN_TRACEBACK"):
        sys.unraisablehook = _pass_over
    try:
        # At once, since a signal can come while all the rest is read.
        from musicgen.model.stop import heard, unwind_on_signals

        unwind_on_signals()
        from musicgen.app.cli import main as command
        from musicgen.app.memory import return_memory

        if sys.argv[1:2] != ["train"]:  # JAX's steps on a CPU would take 40 % longer
            return_memory()
        _codes[0] = command()
        for number in heard():  # all is done: there is nothing to unwind, and nothing to say
            signal.signal(number, signal.SIG_DFL)
    except (KeyboardInterrupt, SystemExit) as stop:
        from musicgen.app.errors import INTERRUPTED, STOPPED, TERMINATED

        if isinstance(stop, SystemExit) and stop.code != TERMINATED:
            raise
        _codes[0] = TERMINATED if isinstance(stop, SystemExit) else INTERRUPTED
        print(f"musicgen: error: {STOPPED}", file=sys.stderr)
    return _codes[0]


def _pass_over(lost: "sys.UnraisableHookArgs") -> None:
    """Print nothing of what no code can catch: the command has its own line for what went wrong.

    Such as TensorStore's threads which, when a write has failed, come back to an event loop that is closed by then.
    """
    from musicgen.model.stop import once_more

    once_more(lost.exc_type)


def _leave() -> None:
    """Not as Python does, which takes itself apart under the threads that still work: a C++ library that comes back to
    it then aborts the process."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # nobody reads it, it is closed, there is none
            stream.flush()
    os._exit(_codes[0])
