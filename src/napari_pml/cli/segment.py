"""napari-pml segment | demo."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_pml.cli.common import (
    EMBEDDER_OPTION,
    RESOLUTION_OPTION,
    Channel,
    Config,
    Device,
    Plane,
    Position,
    Resolution,
    Strict,
    app,
    clear_errors,
    method_option,
)
from napari_pml.cli.numbers import export_numbers
from napari_pml.errors import AnnotationError
from napari_pml.types import BACKGROUND

if TYPE_CHECKING:
    from napari_pml.engine.session import Session


@app.command()
def segment(
    video: Annotated[str, typer.Argument(help="Video file, folder of images, TIFF, or .zarr array.")],
    out: Annotated[Path, typer.Option(help="Folder for PNG masks, or a .tif or .zarr file.")],
    annotations: Annotated[
        list[str] | None,
        typer.Option(
            help="FRAME=MASK, a label image in which 0 is background, or a .json of labelme, or an .xml of CVAT "
            "(for images, or for video: then alone it is of all its key frames); give it once for every frame."
        ),
    ] = None,
    strokes: Annotated[
        list[str] | None,
        typer.Option(
            help=f"FRAME=STROKES, a label image in which 0 is unknown and {BACKGROUND} (8 bit: 255) background."
        ),
    ] = None,
    references: Annotated[
        list[Path] | None,
        typer.Option(
            "--transfer-from",
            help="Project (.pml.zarr) of another video, whose annotations count here too; may come again.",
        ),
    ] = None,
    project: Annotated[
        Path | None,
        typer.Option(help="Save the run as a project (.pml.zarr), to go on in napari; one that is there is continued."),
    ] = None,
    method: Annotated[
        str | None,
        method_option("How to segment; if not given, as --project was, with its settings, otherwise pml."),
    ] = None,
    config: Config = None,
    overlay: Annotated[
        Path | None, typer.Option(help="Also write the video with the masks drawn over it (.mp4).")
    ] = None,
    table: Annotated[
        Path | None, typer.Option(help="Also write where and how large every object is on every frame (.csv).")
    ] = None,
    coco: Annotated[Path | None, typer.Option(help="Also write the masks in COCO's format (.json).")] = None,
    embedder: Annotated[str | None, EMBEDDER_OPTION] = None,
    resolution: Annotated[Resolution | None, RESOLUTION_OPTION] = None,
    device: Device = None,
    position: Position = None,
    channel: Channel = None,
    plane: Plane = None,
    strict: Strict = False,
) -> None:
    """Segment a video from annotated frames.

    Ctrl-C stops early; what is finished is written all the same.
    """
    with clear_errors():
        from napari_pml.disk.untrusted import exists
        from napari_pml.embedding.cache import users_cache
        from napari_pml.engine.annotation_files import AnnotationFiles
        from napari_pml.engine.project_knowledge import known_config
        from napari_pml.engine.session import Session
        from napari_pml.io.destination import check_destination, is_folder_name, png_name
        from napari_pml.io.export import export_masks
        from napari_pml.io.overlay import export_overlay, overlay_palette
        from napari_pml.methods.config import parse_config
        from napari_pml.methods.registry import DEFAULT, METHODS
        from napari_pml.store.project import Project
        from napari_pml.video.video import open_video

        files = AnnotationFiles.parse(annotations or [], strokes or [])
        if not files and not references and not (project and exists(project)):
            raise AnnotationError("Nothing is annotated: give --annotations 0=first.png or --strokes 0=strokes.png.")
        inputs = [Path(video), *files.paths, *(references or []), *([project] if project else [])]
        check_destination(out, overlay, table, coco, inputs)
        kept = Project.open(project) if project and exists(project) else None
        begun = METHODS[method] if method else known_config(kept) if kept else DEFAULT
        settings = parse_config(begun, config or [])
        source = open_video(video, position=position, channel=channel, plane=plane, strict=strict)
        if project and not kept:
            kept = Project.create(project, source)
        session = Session(
            source,
            settings,
            embedder=embedder,
            device=device,
            project=kept,
            embedding_cache=users_cache(),
            resolution=resolution and resolution.value,
        )
        others = [Project.open(path) for path in references or ()]
        if others:
            session.transfer_from(*others)
        names = files.annotate(session, others)
        finished = segment_with_progress(session, out)
        if finished:
            masks = session.masks.since(session.annotations.revision)
            if not is_folder_name(out):
                export_masks(masks, out)
            if overlay is not None:
                export_overlay(source, masks, overlay, overlay_palette(kept.record.colours if kept else {}))
            export_numbers(source, masks, names, table, coco)
        if source.damaged:
            frames = ", ".join(map(str, source.damaged))
            typer.echo(f"Damaged, and segmented as repeats of their neighbours: frames {frames}.")
        typer.echo(f"{finished} masks in {out}" + (f", overlay in {overlay}" if overlay and finished else ""))
        if stale := session.stale_frames():
            if finished and (out.suffix or overlay or table or coco):
                frames = f"{len(stale)} of {len(source)} frames"
                typer.echo(f"{frames} have no finished mask and are empty in what was written; run it again.")
            if earlier := sum((out / png_name(t)).exists() for t in stale):
                typer.echo(f"{earlier} masks of other frames in {out} are from an earlier run.")
            raise typer.Exit(130)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the video, its overlay and a contact sheet.")] = Path(
        "pml-demo"
    ),
    device: Device = None,
) -> None:
    """Make a short clip with known masks, segment it from its first mask, and say how well that went."""
    with clear_errors():
        import time

        from napari_pml.demo import make_clip
        from napari_pml.engine.session import Session
        from napari_pml.evaluation.measures import evaluate_masks
        from napari_pml.io.overlay import contact_sheet, export_overlay
        from napari_pml.video.video import open_video

        frames, truth = make_clip(n_objects=3)
        session = Session(open_video(frames), device=device)
        session.annotate(0, truth[0], complete=True)
        began = time.perf_counter()
        segment_with_progress(session, out / "masks")
        seconds = time.perf_counter() - began
        if session.stale_frames():
            raise typer.Exit(130)
        export_overlay(session.video, session.masks, out / "overlay.mp4")
        contact_sheet(session.video, session.masks, out / "contact_sheet.png")
        result = evaluate_masks(list(session.masks.labels[:]), list(truth))
        typer.echo(
            f"J&F {result.j_and_f:.3f} (J {result.j_mean:.3f}, F {result.f_mean:.3f}) over {len(result.object_ids)} "
            f"objects, {len(frames) / seconds:.1f} frames per second with embedding"
        )
        typer.echo(f"look at {out / 'contact_sheet.png'} and {out / 'overlay.mp4'}")


def segment_with_progress(session: Session, out: Path) -> int:
    """Propagate under a progress bar, writing each mask as it is finished, until the end or Ctrl-C.

    Args:
        session: with annotations.
        out: folder for a PNG of every final mask; a .tif or .zarr is left to be written in the end.

    Returns:
        How many frames have their final mask.
    """
    from tqdm import tqdm

    from napari_pml.engine.segment_video import segment_video
    from napari_pml.io.destination import is_folder_name

    n, height, width = session.video.shape
    typer.echo(f"{session.video.name}: {n} frames of {width} x {height}; {session.embedder.name} on {session.device}")
    stale = session.stale_frames()
    if stale and session.uses_embeddings:
        typer.echo(_estimate(session))
    bar = tqdm(total=n, initial=n - len(stale), unit="frame")
    try:
        for _ in segment_video(session, out if is_folder_name(out) else None):
            bar.update(n - len(session.stale_frames()) - bar.n)
    except KeyboardInterrupt:
        typer.echo("\nStopped; what is finished is kept.", err=True)
    finally:
        bar.close()
    return n - len(session.stale_frames())


def _estimate(session: Session) -> str:
    """Say how long embedding will take, after the first frame of which it is not known, and where embeddings go."""
    embeddings, n = session.embeddings, len(session.video)
    due = [t for t in range(n) if t not in embeddings]
    place = "kept on disk" if embeddings.disk is not None and embeddings.disk.capacity >= n else "in memory only"
    text = f"embeddings: {n * embeddings.frame_bytes / 1e6:.0f} MB, {place}"
    if not due:
        return f"{text}, all there"
    session.embed(due[0])
    assert embeddings.seconds is not None
    return f"{text}; {len(due)} frames to embed, about {len(due) * embeddings.seconds:.0f} s"
