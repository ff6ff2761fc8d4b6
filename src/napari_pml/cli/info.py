"""napari-pml info | download."""

from __future__ import annotations

import sys
from dataclasses import fields
from typing import Annotated

import typer

from napari_pml.cli.common import Device, app, clear_errors
from napari_pml.errors import WeightsError


@app.command()
def info(
    device: Device = None,
    cache: Annotated[bool, typer.Option("--cache", help="List the videos whose embeddings are kept on disk.")] = False,
    clear: Annotated[bool, typer.Option("--clear", help="Remove all embeddings that are kept on disk.")] = False,
) -> None:
    """Show versions, device, networks and settings of the methods: what a bug report should hold."""
    with clear_errors():
        if cache or clear:
            _show_cache(clear)
            return

        from napari_pml.embedding.catalogue import CATALOGUE, find
        from napari_pml.embedding.device import choose_device
        from napari_pml.embedding.registry import EMBEDDERS
        from napari_pml.embedding.weights import bundled
        from napari_pml.methods.registry import METHODS

        names = ("napari-pml", "napari", "PyQt6", "PySide6", "torch", "faiss-cpu", "numpy", "av", "zarr")
        typer.echo("versions  " + ", ".join(f"{name} {installed_version(name)}" for name in names))
        typer.echo(f"python    {sys.version.split()[0]} on {sys.platform}")
        typer.echo(f"device    {choose_device(device)}")
        for name in EMBEDDERS:
            if name not in CATALOGUE and not bundled(name).exists():
                typer.echo(f"embedder  {name}: of another package")
                continue
            try:
                paths = find(name) if name in CATALOGUE else [bundled(name)]
            except WeightsError:
                typer.echo(f"embedder  {name}: to be downloaded ({CATALOGUE[name].megabytes} MB)")
            else:
                typer.echo(f"embedder  {name}: {paths[-1]} ({paths[-1].stat().st_size / 1e6:.1f} MB)")
        for name, config in METHODS.items():
            typer.echo(f"method    {name}: " + ", ".join(f"{f.name}={getattr(config, f.name)}" for f in fields(config)))


@app.command()
def download(
    name: Annotated[str, typer.Argument(help="Of an embedder, such as dinov2-small; `napari-pml info` lists them.")],
) -> None:
    """Fetch the weights of an embedder, so that --embedder NAME works from then on without a connection."""
    with clear_errors():
        from napari_pml.embedding import catalogue

        published = catalogue.published(name)
        typer.echo(f"{name}: {published.megabytes} MB, {published.licence}, {published.page}")
        for path in catalogue.download(name):
            typer.echo(f"{path}")


def _show_cache(clear: bool) -> None:
    """List what is kept on disk, and remove it if wanted."""
    from datetime import datetime

    from napari_pml.embedding.cache import LIMIT_VARIABLE, users_cache

    found = users_cache()
    if found is None:
        typer.echo(f"no embeddings are kept on disk, since {LIMIT_VARIABLE} is 0")
        return
    videos = found.videos()
    for cached in videos:
        used = datetime.fromtimestamp(cached.used).strftime("%Y-%m-%d %H:%M")
        typer.echo(f"{cached.n_bytes / 1e6:9.1f} MB  {used}  {cached.video}  {cached.embedder}")
    total = sum(cached.n_bytes for cached in videos)
    typer.echo(f"{total / 1e9:.2f} of {found.max_bytes / 1e9:g} GB, {len(videos)} videos, in {found.folder}")
    if clear:
        found.clear()
        left = len(found.videos())
        typer.echo(f"{left} could not be removed: is {found.folder} yours?" if left else "all removed")


def installed_version(name: str) -> str:
    """Return the version of an installed distribution, or "none"; the engine works without napari and Qt."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return "none"
