"""napari-pml train."""

from __future__ import annotations

from collections import deque
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from napari_pml.cli.common import Device, app, clear_errors


class Loss(StrEnum):
    """Names of `LOSSES`, likewise."""

    standard_triplet = "standard_triplet"
    modified_triplet = "modified_triplet"
    soft_nearest_neighbour = "soft_nearest_neighbour"


class Trained(StrEnum):
    """What can be trained."""

    pml = "pml"
    osvos = "osvos"


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
    method: Annotated[
        Trained,
        typer.Option(help="pml: the embedder; osvos: the parent network, which knows what objects and contours are."),
    ] = Trained.pml,
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
        typer.Option(help="A loss to train pml with; give it once for each. If not given, the last two."),
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
    compact.safetensors (for --embedder) or osvos.safetensors, log.csv, its picture curve.svg, and checkpoint.pt into
    OUT. Stop it at any time and call it again to go on.
    """
    with clear_errors():
        from tqdm import tqdm

        from napari_pml.embedding.embedder import choose_device
        from napari_pml.training.osvos import ParentConfig, run_parent_training
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
        parent = ParentConfig(steps=steps, learning_rate=learning_rate, seed=seed)
        chosen, begin = choose_device(device), None if start == "bundled" else Path(start)
        reports, weights = {
            Trained.pml: (run_training(data, out, config, begin, chosen), "compact.safetensors"),
            Trained.osvos: (run_parent_training(data, out, parent, begin, chosen), "osvos.safetensors"),
        }[method]
        typer.echo(f"training on {chosen}")
        bar = tqdm(total=steps, unit="step")
        totals = deque[float](maxlen=50)
        for report in reports:
            totals.append(sum(report.losses.values()))
            bar.update(report.step - bar.n)
            bar.set_postfix(loss=f"{sum(totals) / len(totals):.3f}")
        bar.close()
        typer.echo(f"weights in {out / weights}, losses in {out / 'curve.svg'}")
