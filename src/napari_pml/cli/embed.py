"""napari-pml embed."""

from __future__ import annotations

from typing import Annotated

import typer

from napari_pml.cli.common import (
    RESOLUTION_OPTION,
    Channel,
    Device,
    Embedder,
    Plane,
    Position,
    Resolution,
    app,
    clear_errors,
)


@app.command()
def embed(
    videos: Annotated[list[str], typer.Argument(help="Video files, folders of images, TIFFs, or .zarr arrays.")],
    embedder: Embedder = "compact",
    resolution: Annotated[Resolution, RESOLUTION_OPTION] = Resolution.auto,
    device: Device = None,
    position: Position = None,
    channel: Channel = None,
    plane: Plane = None,
) -> None:
    """Embed videos now and keep that on disk, so that segmenting them later, here or in napari, waits for nothing.

    Stop it at any time and call it again to go on.
    """
    with clear_errors():
        from tqdm import tqdm

        from napari_pml.embedding.cache import LIMIT_VARIABLE, users_cache
        from napari_pml.embedding.device import choose_device
        from napari_pml.embedding.registry import load_embedder
        from napari_pml.embedding.stores import CHECKSUM_BYTES, HEADER_BYTES
        from napari_pml.engine.session import Session
        from napari_pml.errors import SettingsError
        from napari_pml.video.video import open_video

        cache = users_cache()
        if cache is None:
            raise SettingsError(f"Nothing can be kept on disk, since {LIMIT_VARIABLE} is 0. Set it to a number of GB.")
        network = load_embedder(embedder, choose_device(device))

        def opened(path: str) -> Session:
            video = open_video(path, position=position, channel=channel, plane=plane)
            return Session(
                video, embedder=network, embedding_bytes=0, embedding_cache=cache, resolution=resolution.value
            )

        fits, needed = True, 0
        for path in videos:  # before the work: what does not fit would push out what was embedded just before
            session = opened(path)
            embeddings, n = session.embeddings, len(session.video)
            fits = fits and embeddings.capacity >= n
            needed += n * (embeddings.frame_bytes + CHECKSUM_BYTES) + HEADER_BYTES
        named = videos[0] if len(videos) == 1 else f"These {len(videos)} videos together"
        refused = SettingsError(
            f"{named}: {needed / 1e9:.3g} GB are needed, more than there is room for: the limit is "
            f"{cache.max_bytes / 1e9:g} GB ({LIMIT_VARIABLE}), and 2 GB of the disk stay free. Raise the limit, make "
            "room, or give fewer videos."
        )
        if not fits or not cache.could_hold(needed):
            raise refused
        for path in videos:
            session = opened(path)
            embeddings, n = session.embeddings, len(session.video)
            due = [t for t in range(n) if t not in embeddings]
            megabytes = n * embeddings.frame_bytes / 1e6
            typer.echo(f"{path}: {n} frames, {len(due)} to embed, {megabytes:.0f} MB in all")
            try:
                for t in tqdm(due, unit="frame", initial=n - len(due), total=n):
                    session.embed(t)
                    if embeddings.disk is None or t not in embeddings.disk:
                        raise refused
            except KeyboardInterrupt:
                typer.echo("\nStopped; what is embedded is kept.", err=True)
                raise typer.Exit(130) from None
