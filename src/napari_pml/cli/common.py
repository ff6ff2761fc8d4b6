"""The application, the options that several commands have, and how mistakes are shown."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand

from napari_pml import extensions
from napari_pml.embedding.memory import keep_freed_memory
from napari_pml.errors import PmlError

Function = TypeVar("Function", bound=Callable[..., Any])


class HomeCommand(TyperCommand):
    """A command that knows where home is in every path it is given: a shell expands ~ only at the start of a word."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        ctx.params = {name: _at_home(value) for name, value in ctx.params.items()}
        return super().invoke(ctx)


class Application(typer.Typer):
    """The commands."""

    def command(self, *args: Any, **options: Any) -> Callable[[Function], Function]:
        """Add a command."""
        return super().command(*args, **{"cls": HomeCommand, **options})


def _at_home(value: Any) -> Any:
    """Return paths, alone, in lists or after FRAME=, with ~ in front as those of the person's home."""
    if isinstance(value, list | tuple):
        return type(value)(map(_at_home, value))
    if isinstance(value, Path):
        return Path(_at_home(str(value)))
    if isinstance(value, str):
        key, equals, path = value.rpartition("=")
        return key + equals + str(Path(path).expanduser()) if path.startswith("~") else value
    return value


app = Application(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A few brush strokes become a segmentation of the whole video.",
)


# One frame at a time needs few threads of Zarr's, each of which keeps some 50 MB.
os.environ.setdefault("ZARR_THREADING__MAX_WORKERS", "2")


@app.callback()
def prepare_process() -> None:
    """Make the process one that runs networks."""
    keep_freed_memory()


OWN_METHODS = "pml", "pml-paper", "feelvos", "osvos", "cells"
"""Our `METHODS`; a test keeps the two alike, so that --help need not import torch."""


def _known_method(name: str | None) -> str | None:
    known = [*OWN_METHODS, *extensions.names(extensions.METHODS)]
    if name is not None and name not in known:
        raise typer.BadParameter(f"There is no method {name!r}. There are {', '.join(known)}.")
    return name


def method_option(text: str) -> Any:
    """Return the option that takes the name of a method."""
    known = "|".join([*OWN_METHODS, *extensions.names(extensions.METHODS)])
    return typer.Option("--method", metavar=f"[{known}]", help=text, callback=_known_method)


MethodName = Annotated[str, method_option("How to segment.")]
Device = Annotated[str | None, typer.Option(help="cuda, mps or cpu; the best there is if not given.")]
Config = Annotated[
    list[str] | None,
    typer.Option(
        help="KEY=VALUE, a setting that differs from what the method has, such as k=5; give it for every one."
    ),
]
Strict = Annotated[
    bool, typer.Option("--strict", help="Stop where a frame is damaged, instead of repeating the one before it.")
]
Position = Annotated[int | None, typer.Option(help="Which position, of a file that holds several, from 0.")]
Channel = Annotated[int | None, typer.Option(help="Which channel, from 0; all of them, as colours, if not given.")]
Plane = Annotated[int | None, typer.Option(help="Which plane in depth, of a file that holds several, from 0.")]


class Resolution(StrEnum):
    """`RESOLUTIONS`; a test keeps the two alike."""

    auto = "auto"
    native = "native"
    twice = "2x"
    four_times = "4x"


RESOLUTION_OPTION = typer.Option(
    "--resolution",
    help="In which the network sees frames: auto makes the shorter side of larger ones 480 pixels long, native leaves "
    "all as they are, 2x and 4x enlarge those of objects of a few pixels.",
)
EMBEDDER_OPTION = typer.Option(
    help="An embedder, see info; a .safetensors file of your own training; or a folder of a vision transformer."
)
Embedder = Annotated[str, EMBEDDER_OPTION]


@contextmanager
def clear_errors() -> Iterator[None]:
    """Show what a user can mend as one line instead of a traceback."""
    try:
        yield
    except PmlError as error:
        typer.secho(f"Error: {error}", fg="red", err=True)
        raise typer.Exit(1) from error
