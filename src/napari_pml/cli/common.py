"""The application, the options that several commands have, and how mistakes are shown."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated

import typer

from napari_pml.errors import PmlError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A few brush strokes become a segmentation of the whole video.",
)


# One frame at a time needs few threads of Zarr's, each of which keeps some 50 MB.
os.environ.setdefault("ZARR_THREADING__MAX_WORKERS", "2")


class Method(StrEnum):
    """Names of `METHODS`; a test keeps the two alike, so that --help need not import torch."""

    pml = "pml"
    pml_paper = "pml-paper"
    feelvos = "feelvos"
    osvos = "osvos"


MethodName = Annotated[Method, typer.Option("--method", help="How to segment.")]
Device = Annotated[str | None, typer.Option(help="cuda, mps or cpu; the best there is if not given.")]
Config = Annotated[
    list[str] | None,
    typer.Option(
        help="KEY=VALUE, a setting that differs from what the method has, such as k=5; give it for every one."
    ),
]
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
