"""napari-pml evaluate | robot."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_pml.cli.common import Config, Device, Embedder, MethodName, app, clear_errors

if TYPE_CHECKING:
    from napari_pml.evaluation.davis import DavisSequence
    from napari_pml.methods.config import MethodConfig

Dataset = Annotated[Path, typer.Argument(help="DAVIS-layout folder: JPEGImages/480p/*, Annotations/480p/*.")]
Sequences = Annotated[
    list[str] | None,
    typer.Option(help="Only these: names with commas between them, or a list such as ImageSets/2017/val.txt."),
]
Resolution = Annotated[str | None, typer.Option(help="Folder below JPEGImages; 480p if there are several.")]


class EvaluationProtocol(StrEnum):
    """How videos are measured."""

    davis = "davis"
    cells = "cells"


@app.command()
def evaluate(
    dataset: Dataset,
    out: Annotated[Path, typer.Option(help="Folder for the report, the figures and the masks.")],
    sequences: Sequences = None,
    resolution: Resolution = None,
    method: MethodName = "pml",
    config: Config = None,
    embedder: Embedder = "compact",
    device: Device = None,
    jobs: Annotated[int, typer.Option(min=1, help="Sequences at a time; they share the CPU's threads.")] = 1,
    remark: Annotated[str, typer.Option(help="To stand in the report, such as where the true masks are from.")] = "",
    protocol: Annotated[
        EvaluationProtocol,
        typer.Option(help="davis: J and F; cells: IoU and identity of cells, SEG, DET and TRA, into cells.csv."),
    ] = EvaluationProtocol.davis,
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
        from napari_pml.methods.config import parse_config
        from napari_pml.methods.registry import METHODS

        settings = parse_config(METHODS[method], config or [])
        chosen = select_sequences(find_sequences(dataset, resolution), sequences or [])
        if protocol is EvaluationProtocol.cells:
            _evaluate_cells(chosen, out, settings, embedder, device)
            return
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


def _evaluate_cells(
    chosen: list[DavisSequence], out: Path, settings: MethodConfig, embedder: str, device: str | None
) -> None:
    """Follow the cells of every video, and write what is found after each."""
    from napari_pml.evaluation.cell_protocol import run_sequence, write_table

    results = []
    for sequence in chosen:
        result = run_sequence(sequence, out, settings, embedder, device)
        results.append(result)
        table = write_table(results, out)
        of_challenge = (
            "SEG, DET and TRA need `pip install py-ctcmetrics`"
            if result.tra is None
            else f"SEG {result.seg:.3f}, DET {result.det:.3f}, TRA {result.tra:.3f}"
        )
        typer.echo(
            f"{sequence.name}: IoU {result.iou:.3f}, identity {result.identity:.3f}, {of_challenge}, "
            f"{result.seconds_per_frame:.2f} seconds a frame"
        )
    typer.echo(f"look at {table}")


class RobotTool(StrEnum):
    """What the robot annotates with."""

    scribble = "scribble"
    click = "click"
    mask = "mask"


@app.command()
def robot(
    dataset: Dataset,
    out: Annotated[Path, typer.Option(help="Folder of the results; sequences that are in it already are skipped.")],
    tool: Annotated[
        RobotTool, typer.Option(help="What it annotates with; 'mask' gives true masks: the ceiling for strokes.")
    ] = RobotTool.scribble,
    background: Annotated[bool, typer.Option("--background", help="Mark the background too, to begin with.")] = False,
    interactions: Annotated[int, typer.Option(min=1, help="Number of rounds of annotation on each video.")] = 8,
    starts: Annotated[int, typer.Option(min=1, help="Number of frames of each video to begin on, in turn.")] = 3,
    sequences: Sequences = None,
    resolution: Resolution = None,
    method: MethodName = "pml",
    config: Config = None,
    embedder: Embedder = "compact",
    device: Device = None,
) -> None:
    """Let a robot annotate videos with known masks, and measure how much work a good result takes.

    Writes curve.csv, summary.json and curve.svg into OUT. Call it again to go on where it was stopped.
    """
    with clear_errors():
        from napari_pml.embedding.device import choose_device
        from napari_pml.embedding.registry import load_embedder
        from napari_pml.evaluation.davis import find_sequences, select_sequences
        from napari_pml.evaluation.interactive import Protocol
        from napari_pml.evaluation.robot_report import write_report
        from napari_pml.evaluation.robot_study import Study
        from napari_pml.methods.config import parse_config
        from napari_pml.methods.registry import METHODS

        protocol = Protocol(tool.value, background, interactions, starts)
        settings = parse_config(METHODS[method], config or [])
        chosen = select_sequences(find_sequences(dataset, resolution), sequences or [])
        study = Study(dataset, out, protocol, settings, load_embedder(embedder, choose_device(device)))
        outcomes = []
        for outcome in study.run(chosen):
            outcomes.append(outcome)
            typer.echo(outcome.describe(), err=outcome.error is not None)
        if any(outcome.runs for outcome in outcomes):
            mean = write_report(study, outcomes, out)
            typer.echo("mean: " + ", ".join(f"{name} {value:.3f}" for name, value in mean.items()))
            typer.echo(f"look at {out / 'curve.svg'}")
        if any(outcome.error for outcome in outcomes):
            raise typer.Exit(1)
