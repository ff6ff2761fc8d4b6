"""napari-pml segment | demo | info | download."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_pml.cli.common import EMBEDDER_OPTION, Config, Device, Method, MethodName, app, clear_errors
from napari_pml.cli.numbers import check_numbers, export_numbers
from napari_pml.types import BACKGROUND, AnnotationError, WeightsError

if TYPE_CHECKING:
    from napari_pml.session import Session


@app.command()
def segment(
    video: Annotated[str, typer.Argument(help="Video file, folder of images, TIFF, or .zarr array.")],
    out: Annotated[Path, typer.Option(help="Folder for PNG masks, or a .tif or .zarr file.")],
    annotations: Annotated[
        list[str] | None,
        typer.Option(
            help="FRAME=MASK, a label image in which 0 is background, or a .json of labelme, or an .xml of CVAT "
            "(for images); give it once for every frame."
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
        typer.Option(help="Project (.pml.zarr) of another video, whose annotations count here too; may come again."),
    ] = None,
    project: Annotated[
        Path | None,
        typer.Option(help="Save the run as a project (.pml.zarr), to go on in napari; one that is there is continued."),
    ] = None,
    method: MethodName = Method.pml,
    config: Config = None,
    overlay: Annotated[
        Path | None, typer.Option(help="Also write the video with the masks drawn over it (.mp4).")
    ] = None,
    table: Annotated[
        Path | None, typer.Option(help="Also write where and how large every object is on every frame (.csv).")
    ] = None,
    coco: Annotated[Path | None, typer.Option(help="Also write the masks in COCO's format (.json).")] = None,
    embedder: Annotated[str | None, EMBEDDER_OPTION] = None,
    device: Device = None,
) -> None:
    """Segment a video from annotated frames.

    Ctrl-C stops early; what is finished is written all the same.
    """
    with clear_errors():
        masks = parse_annotations(annotations or [], "--annotations")
        painted = parse_annotations(strokes or [], "--strokes")
        if both := sorted(masks.keys() & painted.keys()):
            raise AnnotationError(f"Frame {both[0]} has both --annotations and --strokes; give one of them.")
        if not masks and not painted and not references and not (project and project.exists()):
            raise AnnotationError("Nothing is annotated: give --annotations 0=first.png or --strokes 0=strokes.png.")

        from napari_pml.export import check_destination, export_masks, export_overlay, read_labels
        from napari_pml.label_files import read_annotation
        from napari_pml.methods.config import parse_config
        from napari_pml.methods.table import METHODS
        from napari_pml.project import Project
        from napari_pml.session import Session
        from napari_pml.video import open_video

        settings = parse_config(METHODS[method], config or [])
        check_destination(out, overlay)
        check_numbers(table, coco)
        source = open_video(video)
        kept = None
        if project is not None:
            kept = Project.open(project) if project.exists() else Project.create(project, source)
        session = Session(source, settings, embedder=embedder, device=device, project=kept)
        if references:
            session.learn_from(*map(Project.open, references))
        names = dict(kept.record.names) if kept else {}
        for t, path in masks.items():
            named = read_annotation(path, t).renumbered(dict.fromkeys(session.object_ids, "") | names)
            names |= named.names
            if kept:
                kept.note(names=names)
            session.annotate(t, named.labels, complete=True)
        for t, path in painted.items():
            session.annotate(t, read_labels(path, strokes=True))
        if not session.object_ids:
            raise AnnotationError(
                "No object is annotated, only background. Objects are 1, 2, ...; "
                f"in an image of strokes {BACKGROUND} (8 bit: 255) is background."
            )
        finished = segment_with_progress(session, min(session.annotations.frames, default=0), out)
        if out.suffix:
            export_masks(session.masks, out)
        if overlay is not None:
            export_overlay(source, session.masks, overlay)
        export_numbers(source, session.masks, table, coco)
        typer.echo(f"{finished} masks in {out}" + (f", overlay in {overlay}" if overlay else ""))
        if session.stale_frames():
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
        from napari_pml.evaluation.measures import evaluate_masks
        from napari_pml.export import contact_sheet, export_overlay
        from napari_pml.session import Session
        from napari_pml.video import open_video

        frames, truth = make_clip(n_objects=3)
        session = Session(open_video(frames), device=device)
        session.annotate(0, truth[0], complete=True)
        began = time.perf_counter()
        segment_with_progress(session, 0, out / "masks")
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


@app.command()
def info(device: Device = None) -> None:
    """Show versions, device, networks and default settings: what a bug report should hold."""
    with clear_errors():
        from napari_pml.embedding.catalogue import CATALOGUE, find
        from napari_pml.embedding.embedder import EMBEDDERS, choose_device
        from napari_pml.embedding.weights import bundled
        from napari_pml.methods.table import DEFAULT

        names = ("napari-pml", "napari", "PyQt6", "PySide6", "torch", "faiss-cpu", "numpy", "av", "zarr")
        typer.echo("versions  " + ", ".join(f"{name} {installed_version(name)}" for name in names))
        typer.echo(f"python    {sys.version.split()[0]} on {sys.platform}")
        typer.echo(f"device    {choose_device(device)}")
        for name in EMBEDDERS:
            try:
                paths = find(name) if name in CATALOGUE else [bundled(name)]
            except WeightsError:
                typer.echo(f"embedder  {name}: to be downloaded ({CATALOGUE[name].megabytes} MB)")
            else:
                typer.echo(f"embedder  {name}: {paths[-1]} ({paths[-1].stat().st_size / 1e6:.1f} MB)")
        typer.echo("settings  " + ", ".join(f"{f.name}={getattr(DEFAULT, f.name)}" for f in fields(DEFAULT)))


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


def installed_version(name: str) -> str:
    """Return the version of an installed distribution, or "none"; the engine works without napari and Qt."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def parse_annotations(entries: list[str], option: str) -> dict[int, Path]:
    """Turn ["0=first.png"] into {0: Path("first.png")}; a bare path is frame 0.

    Raises:
        AnnotationError: an entry is neither FRAME=FILE nor a path, a frame comes twice, or the file is missing.
    """
    found: dict[int, Path] = {}
    for entry in entries:
        frame, separator, file = entry.partition("=")
        if not separator:
            frame, file = "0", entry
        if not frame.strip().isdigit():
            raise AnnotationError(f"{option} {entry}: expected FRAME=FILE, such as {option} 0=first.png.")
        if int(frame) in found:
            raise AnnotationError(f"{option}: frame {int(frame)} is given twice; put all its labels into one image.")
        if not Path(file).is_file():
            raise AnnotationError(f"{option} {entry}: there is no file {file}.")
        found[int(frame)] = Path(file)
    return found


def segment_with_progress(session: Session, start: int, out: Path) -> int:
    """Propagate under a progress bar, writing each mask as it is finished, until the end or Ctrl-C.

    Args:
        session: with annotations.
        start: the frame to begin with.
        out: folder for a PNG of every final mask; a .tif or .zarr is left to be written in the end.

    Returns:
        How many frames have their final mask.
    """
    from tqdm import tqdm

    from napari_pml.export import write_mask_png

    n, height, width = session.video.shape
    typer.echo(f"{session.video.name}: {n} frames of {width} x {height}; {session.embedder.name} on {session.device}")
    stale = session.stale_frames()
    bar = tqdm(total=n, initial=n - len(stale), unit="frame")
    try:
        if not out.suffix:  # what a project had already
            for t in sorted(set(range(n)) - set(stale)):
                write_mask_png(session.masks[t].labels, out / f"{t:05d}.png")
        for mask in session.propagate(start):
            is_final = mask.revision == session.annotations.revision
            if is_final and not out.suffix:
                write_mask_png(mask.labels, out / f"{mask.t:05d}.png")
            bar.update(n - len(session.stale_frames()) - bar.n)
    except KeyboardInterrupt:
        typer.echo("\nStopped; what is finished is kept.", err=True)
    finally:
        bar.close()
    return n - len(session.stale_frames())
