"""`musicgen app`: the page in the browser."""

from __future__ import annotations

import argparse
import importlib.util
import logging
import math
import sys
import threading
import webbrowser

from musicgen.app.arguments import add_checkpoint, whole
from musicgen.app.errors import BadInput, EnvironmentProblem

PORT = 7860
DRAIN = 20.0  # seconds: orchestrators kill what is not gone after 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where to listen, which weights."""
    add = parser.add_argument
    add(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="address to listen on; 0.0.0.0 lets other machines in (default: %(default)s)",
    )
    add("--port", type=whole, default=PORT, help="port to listen on; 0 takes a free one (default: %(default)s)")
    add_checkpoint(parser)
    add(
        "--audio-checkpoint", metavar="NAME", help="weights for the Audio tab, by name or folder (default: piano-codes)"
    )
    add("--codec", metavar="NAME", help="the codec of --audio-checkpoint (default: piano)")
    add(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name by which people or pages may ask this server, such as that of a proxy in front; * for any",
    )
    add("--root-path", metavar="/PATH", help="the path at which a proxy in front serves the page")
    add("--mcp", action="store_true", help="let agents call it, too, by the Model Context Protocol: see docs/api.md")
    add(
        "--workers",
        type=whole,
        default=1,
        metavar="K",
        help="processes that make music behind one queue, with equal shares of this machine's cores and GPUs"
        " (default: the server's own)",
    )
    add(
        "--drain",
        type=float,
        default=DRAIN,
        metavar="SECONDS",
        help="time to finish pieces after SIGTERM; what is unfinished then is kept as it is (default: %(default)g)",
    )
    add("--open", action="store_true", help="open the page in a browser")
    add("--quiet", action="store_true", help="do not print the address")


def run(arguments: argparse.Namespace) -> int:
    """Serve until stopped."""
    if not 0 <= arguments.port <= 65535:
        raise BadInput(f"--port must be between 0 and 65535, not {arguments.port}")
    if arguments.workers < 1:
        raise BadInput(f"--workers must be at least 1, not {arguments.workers}")
    if not arguments.drain >= 0 or math.isinf(arguments.drain):
        raise BadInput(f"--drain must be a number of seconds, 0 or more, not {arguments.drain}")
    if importlib.util.find_spec("gradio") is None:
        from musicgen.data_prep.extras import install_command

        raise EnvironmentProblem(f"the page needs Gradio: {install_command('app')}")
    if arguments.mcp and importlib.util.find_spec("mcp") is None:
        from musicgen.data_prep.extras import install_command

        raise EnvironmentProblem(f"--mcp needs the package mcp: {install_command('mcp')}")
    logging.basicConfig(format="musicgen: %(message)s", level=logging.WARNING)
    from musicgen.app.web.serve import serve

    def listening(host: str, port: int) -> None:
        shown = "127.0.0.1" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{port}"
        if not arguments.quiet:
            print(f"musicgen: open {address} in a browser; Ctrl-C stops", file=sys.stderr, flush=True)
            if arguments.mcp:
                print(f"musicgen: agents call {address}/gradio_api/mcp", file=sys.stderr, flush=True)
        if arguments.open:
            threading.Timer(1.0, webbrowser.open, [address]).start()

    serve(
        arguments.checkpoint,
        arguments.host,
        arguments.port,
        audio_checkpoint=arguments.audio_checkpoint,
        codec=arguments.codec,
        root_path=arguments.root_path,
        allow_hosts=arguments.allow_host,
        agents=arguments.mcp,
        workers=arguments.workers,
        drain=arguments.drain,
        on_listening=listening,
    )
    return 0
