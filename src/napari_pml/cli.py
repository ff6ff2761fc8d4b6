"""The command line: napari-pml segment | demo | evaluate | train | info."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_pml.types import BACKGROUND, AnnotationError, PmlError

if TYPE_CHECKING:
    from napari_pml.session import Session

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A few brush strokes become a segmentation of the whole video.",
)


class Preset(StrEnum):
    """Names of `PRESETS`; a test keeps the two alike, so that --help need not import torch."""

    default = "default"
    paper = "paper"


class Loss(StrEnum):
    """Names of `LOSSES`, likewise."""

    standard_triplet = "standard_triplet"
    modified_triplet = "modified_triplet"
    soft_nearest_neighbour = "soft_nearest_neighbour"


Settings = Annotated[Preset, typer.Option(help="Our settings, or the paper's.")]
Device = Annotated[str | None, typer.Option(help="cuda, mps or cpu; the best there is if not given.")]
Config = Annotated[
    list[str] | None,
    typer.Option(help="KEY=VALUE, a setting that differs from the preset, such as k=5; give it once for every one."),
]
Embedder = Annotated[str, typer.Option(help="Name of an embedder, or a .safetensors file of your own training.")]


@contextmanager
def clear_errors() -> Iterator[None]:
    """Show what a user can mend as one line instead of a traceback."""
    try:
        yield
    except PmlError as error:
        typer.secho(f"Error: {error}", fg="red", err=True)
        raise typer.Exit(1) from error


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


@app.command()
def segment(
    video: Annotated[str, typer.Argument(help="Video file, folder of images, TIFF, or .zarr array.")],
    out: Annotated[Path, typer.Option(help="Folder for PNG masks, or a .tif or .zarr file.")],
    annotations: Annotated[
        list[str] | None,
        typer.Option(help="FRAME=MASK, a label image in which 0 is background; give it once for every frame."),
    ] = None,
    strokes: Annotated[
        list[str] | None,
        typer.Option(
            help=f"FRAME=STROKES, a label image in which 0 is unknown and {BACKGROUND} (8 bit: 255) background."
        ),
    ] = None,
    preset: Settings = Preset.default,
    config: Config = None,
    overlay: Annotated[
        Path | None, typer.Option(help="Also write the video with the masks drawn over it (.mp4).")
    ] = None,
    embedder: Embedder = "compact",
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
        if not masks and not painted:
            raise AnnotationError("Nothing is annotated: give --annotations 0=first.png or --strokes 0=strokes.png.")

        from napari_pml.export import check_destination, export_masks, export_overlay, read_labels
        from napari_pml.methods.pml import parse_config
        from napari_pml.session import Session
        from napari_pml.video import open_video

        settings = parse_config(preset, config or [])
        check_destination(out, overlay)
        source = open_video(video)
        session = Session(source, settings, embedder=embedder, device=device)
        for t, path in masks.items():
            session.annotate(t, read_labels(path), complete=True)
        for t, path in painted.items():
            session.annotate(t, read_labels(path, strokes=True))
        if not session.annotations.object_ids:
            raise AnnotationError(
                "No object is annotated, only background. Objects are 1, 2, ...; "
                f"in an image of strokes {BACKGROUND} (8 bit: 255) is background."
            )
        finished = segment_with_progress(session, min(masks | painted), out)
        if out.suffix:
            export_masks(session.masks, out)
        if overlay is not None:
            export_overlay(source, session.masks, overlay)
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
def evaluate(
    dataset: Annotated[Path, typer.Argument(help="DAVIS-layout folder: JPEGImages/480p/*, Annotations/480p/*.")],
    out: Annotated[Path, typer.Option(help="Folder for the report, the figures and the masks.")],
    sequences: Annotated[
        list[str] | None,
        typer.Option(help="Only these: names with commas between them, or a list such as ImageSets/2017/val.txt."),
    ] = None,
    resolution: Annotated[str | None, typer.Option(help="Folder below JPEGImages; 480p if there are several.")] = None,
    preset: Settings = Preset.default,
    config: Config = None,
    embedder: Embedder = "compact",
    device: Device = None,
    jobs: Annotated[int, typer.Option(min=1, help="Sequences at a time; they share the CPU's threads.")] = 1,
    remark: Annotated[str, typer.Option(help="To stand in the report, such as where the true masks are from.")] = "",
) -> None:
    """Segment every video of a dataset from its first mask, and report J and F.

    Writes report.html, results.csv, summary.json and the masks into OUT. Stop it at any time and call it again to go
    on: what is finished with the same settings is kept.
    """
    with clear_errors():
        from tqdm import tqdm

        from napari_pml.evaluation.davis import find_sequences, select_sequences
        from napari_pml.evaluation.report import write_report
        from napari_pml.evaluation.results import DatasetResult, write_summary
        from napari_pml.evaluation.semi_supervised import make_setup, run_dataset
        from napari_pml.methods.pml import parse_config

        settings = parse_config(preset, config or [])
        chosen = select_sequences(find_sequences(dataset, resolution), sequences or [])
        setup = make_setup(dataset, chosen, settings, embedder, device)
        typer.echo(f"{setup.dataset} on {setup.device}")
        outcomes = []
        try:
            with tqdm(total=len(chosen), unit="sequence") as bar:
                for outcome in run_dataset(chosen, out, setup, jobs):
                    outcomes.append(outcome)
                    bar.update()
        except KeyboardInterrupt:
            typer.echo("\nStopped; finished sequences are kept. Call again to go on.", err=True)
            raise typer.Exit(130) from None
        found = DatasetResult.gather(setup, outcomes, remark)
        write_summary(found, out)
        report = write_report(found, chosen, out)
        mean = found.mean
        typer.echo(
            f"J&F {mean.j_and_f:.3f} (J {mean.j.mean:.3f}, F {mean.f.mean:.3f}), "
            f"{found.seconds_per_frame:.3f} seconds a frame; look at {report}"
        )
        for unscored in found.unscored:
            typer.secho(f"{unscored.sequence}: {unscored.reason}", fg="red" if unscored.failed else None, err=True)
        if any(unscored.failed for unscored in found.unscored):
            raise typer.Exit(1)


@app.command()
def train(
    data: Annotated[
        list[Path],
        typer.Argument(
            help="Folders with masks: videos as in DAVIS (JPEGImages/480p/VIDEO/*.jpg, Annotations/480p/VIDEO/*.png), "
            "of which only some frames need a mask, or stills (images/*.jpg, masks/*.png). Each folder has the same "
            "share of the training; give one twice to double its share."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the run; if it holds a checkpoint, training goes on.")],
    start: Annotated[
        str,
        typer.Option(
            "--from",
            help="What to start from: 'bundled', a .safetensors file that was trained before, or one with a trunk: "
            "EfficientNet-B0 as published, or ResNet-18 (BatchNorm folded).",
        ),
    ] = "bundled",
    loss: Annotated[
        list[Loss] | None,
        typer.Option(help="A loss to train with; give it once for each. If not given, the last two."),
    ] = None,
    steps: Annotated[
        int,
        typer.Option(min=1, help="In all. A few hundred adapt a network to your own videos, a trunk needs thousands."),
    ] = 300,
    learning_rate: Annotated[
        float, typer.Option(min=0, help="Of the trunk, at its peak; lower it if the loss rises.")
    ] = 1e-4,
    seed: Annotated[int, typer.Option(help="Of clips and anchors.")] = 0,
    device: Device = None,
) -> None:
    """Adapt the network to your own videos or stills with masks, or train one from scratch.

    It can be adapted on a few annotated frames; 300 steps take some ten minutes on two CPU cores. Writes
    compact.safetensors (for --embedder), log.csv, its picture curve.svg, and checkpoint.pt into OUT. Stop it at any
    time and call it again to go on.
    """
    with clear_errors():
        from tqdm import tqdm

        from napari_pml.embedding.embedder import choose_device
        from napari_pml.training.train import TrainConfig, run_training

        losses = loss or [Loss.modified_triplet, Loss.soft_nearest_neighbour]
        config = TrainConfig(
            steps=steps,
            learning_rate=learning_rate,
            standard_triplet=float(Loss.standard_triplet in losses),
            modified_triplet=float(Loss.modified_triplet in losses),
            soft_nearest_neighbour=float(Loss.soft_nearest_neighbour in losses),
            seed=seed,
        )
        chosen = choose_device(device)
        typer.echo(f"training on {chosen}")
        bar = tqdm(total=steps, unit="step")
        totals = deque[float](maxlen=50)
        for report in run_training(data, out, config, None if start == "bundled" else Path(start), chosen):
            totals.append(sum(report.losses.values()))
            bar.update(report.step - bar.n)
            bar.set_postfix(loss=f"{sum(totals) / len(totals):.3f}")
        bar.close()
        typer.echo(f"weights in {out / 'compact.safetensors'}, losses in {out / 'curve.svg'}")


@app.command()
def info(device: Device = None) -> None:
    """Show versions, device, networks and default settings: what a bug report should hold."""
    with clear_errors():
        from importlib.metadata import version

        from napari_pml.embedding.embedder import EMBEDDERS, choose_device
        from napari_pml.embedding.weights import bundled
        from napari_pml.methods.pml import PmlConfig

        names = ("napari-pml", "napari", "torch", "faiss-cpu", "numpy", "av", "zarr")
        typer.echo("versions  " + ", ".join(f"{name} {version(name)}" for name in names))
        typer.echo(f"python    {sys.version.split()[0]} on {sys.platform}")
        typer.echo(f"device    {choose_device(device)}")
        for name in EMBEDDERS:
            typer.echo(f"embedder  {name}: {bundled(name)} ({bundled(name).stat().st_size / 1e6:.1f} MB)")
        config = PmlConfig()
        typer.echo("settings  " + ", ".join(f"{f.name}={getattr(config, f.name)}" for f in fields(config)))


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
    bar = tqdm(total=n, unit="frame")
    try:
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


if __name__ == "__main__":
    app()
