"""napari-pml embed."""

from __future__ import annotations

from typing import Annotated

import typer

from napari_pml.cli.common import Device, Embedder, app, clear_errors


@app.command()
def embed(
    videos: Annotated[list[str], typer.Argument(help="Video files, folders of images, TIFFs, or .zarr arrays.")],
    embedder: Embedder = "compact",
    device: Device = None,
) -> None:
    """Embed videos now and keep that on disk, so that segmenting them later, here or in napari, waits for nothing.

    Stop it at any time and call it again to go on.
    """
    with clear_errors():
        from tqdm import tqdm

        from napari_pml.embedding.cache import LIMIT_VARIABLE, users_cache
        from napari_pml.embedding.embedder import choose_device, load_embedder
        from napari_pml.session import Session
        from napari_pml.types import SettingsError
        from napari_pml.video import open_video

        cache = users_cache()
        if cache is None:
            raise SettingsError(f"Nothing can be kept on disk, since {LIMIT_VARIABLE} is 0. Set it to a number of GB.")
        network = load_embedder(embedder, choose_device(device))
        for path in videos:
            session = Session(open_video(path), embedder=network, embedding_bytes=0, embedding_cache=cache)
            embeddings, n = session.embeddings, len(session.video)
            due = [t for t in range(n) if t not in embeddings]
            megabytes = n * embeddings.frame_bytes / 1e6
            typer.echo(f"{path}: {n} frames, {len(due)} to embed, {megabytes:.0f} MB in all")
            refused = SettingsError(
                f"{path} needs {megabytes / 1000:.1f} GB, more than there is room for: the limit is "
                f"{cache.max_bytes / 1e9:g} GB ({LIMIT_VARIABLE}), and 2 GB of the disk stay free. Raise the limit, or "
                "make room."
            )
            if embeddings.room < n:
                raise refused
            try:
                for t in tqdm(due, unit="frame", initial=n - len(due), total=n):
                    session.embed(t)
                    if embeddings.disk is None or t not in embeddings.disk:
                        raise refused
            except KeyboardInterrupt:
                typer.echo("\nStopped; what is embedded is kept.", err=True)
                raise typer.Exit(130) from None
