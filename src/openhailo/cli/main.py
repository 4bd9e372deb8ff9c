"""Entry point of the `openhailo` command: wiring, exit codes, and errors without tracebacks.

Exit codes: 0 done, 1 the work failed, 2 wrong usage, 3 no usable device, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from openhailo import __version__
from openhailo.errors import DeviceError, DeviceTimeout, OpenHailoError

from . import (
    actions,
    benchmark,
    bind,
    broker,
    compile,
    demo,
    devices,
    exec,
    feagi,
    identify,
    inspect,
    join,
    run,
    sensors,
    setup,
    trace,
    twin,
)

EXIT_FAILED, EXIT_DEVICE, EXIT_INTERRUPTED = 1, 3, 130

#: Packages that only some commands need, and the extra that brings them.
EXTRAS = {"onnx": "compiler", "cv2": "vision", "matplotlib": "feagi"}

app = typer.Typer(
    name="openhailo",
    help="The open software stack for the Hailo-8/8L AI accelerator.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (
    actions,
    devices,
    identify,
    inspect,
    compile,
    join,
    run,
    exec,
    benchmark,
    sensors,
    demo,
    trace,
    setup,
    bind,
    broker,
):
    app.command(name=module.NAME, help=module.__doc__)(module.command)
app.add_typer(twin.app, name="twin")
app.add_typer(feagi.app, name="feagi")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"openhailo {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Hold the options that belong to no command."""


def main() -> None:
    """Run the command line; never shows a traceback for what a user can cause (set OPENHAILO_DEBUG=1 to see it)."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        typer.echo(f"openhailo: this needs {error.name}; install it with: pip install 'openhailo[{extra}]'", err=True)
        sys.exit(EXIT_FAILED)
    except OpenHailoError as error:
        if os.environ.get("OPENHAILO_DEBUG"):
            raise
        typer.echo(f"openhailo: {error}", err=True)
        sys.exit(EXIT_DEVICE if isinstance(error, DeviceError | DeviceTimeout) else EXIT_FAILED)


if __name__ == "__main__":
    main()
