"""napari-pml train."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_pml.cli.common import Device, Method, app, clear_errors
from napari_pml.errors import SettingsError

if TYPE_CHECKING:
    from napari_pml.training.loop import StepReport


OF_THEIR_OWN = Method.feelvos, Method.osvos
"""Methods with a network of their own."""


class Loss(StrEnum):
    """Names of `LOSSES`, likewise."""

    standard_triplet = "standard_triplet"
    modified_triplet = "modified_triplet"
    soft_nearest_neighbour = "soft_nearest_neighbour"


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
            "EfficientNet-B0 as published, ResNet-18 (BatchNorm folded), torchvision's ResNet-101 or DeepLab (.pth).",
        ),
    ] = "bundled",
    method: Annotated[
        Method,
        typer.Option(help="feelvos: its network, on embeddings as they are; osvos: its parent; others: the embedder."),
    ] = Method.pml,
    loss: Annotated[
        list[Loss] | None,
        typer.Option(
            help="A loss for embeddings, not for feelvos or osvos; give it once for each. If not given, the last two."
        ),
    ] = None,
    steps: Annotated[
        int,
        typer.Option(min=1, help="In all. A few hundred adapt a network to your own videos, a trunk needs thousands."),
    ] = 300,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="At its peak; lower it if the loss rises. If not given, 1e-4 for the trunk of embeddings, 1e-3 for "
            "feelvos.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    device: Device = None,
) -> None:
    """Adapt the network to your own videos or stills with masks, or train one from scratch.

    It can be adapted on a few annotated frames; 300 steps take five to ten minutes on two CPU cores. Writes
    compact.safetensors (for --embedder), log.csv, its picture curve.svg, and checkpoint.pt into OUT; with --method
    feelvos or osvos also feelvos.safetensors or osvos.safetensors, which is used whenever compact.safetensors beside it
    is. Stop it at any time and call it again to go on.
    """
    with clear_errors():
        from tqdm import tqdm

        from napari_pml.embedding.embedder import choose_device
        from napari_pml.training.train import TrainConfig, run_training
        from napari_pml.training.train_feelvos import FeelvosTrainConfig, train_feelvos
        from napari_pml.training.train_osvos import OsvosTrainConfig, train_osvos

        if loss and method in OF_THEIR_OWN:
            raise SettingsError(f"{method} has a loss of its own: leave out --loss, or choose another --method.")
        rate: dict[str, Any] = {} if learning_rate is None else {"learning_rate": learning_rate}
        weights = None if start == "bundled" else Path(start)
        chosen = choose_device(device)
        reports: Iterator[StepReport]
        if method is Method.feelvos:
            feelvos = FeelvosTrainConfig(steps=steps, seed=seed, **rate)
            reports = train_feelvos(data, out, feelvos, weights, chosen)
        elif method is Method.osvos:
            reports = train_osvos(data, out, OsvosTrainConfig(steps=steps, seed=seed, **rate), weights, chosen)
        else:
            losses = loss or [Loss.modified_triplet, Loss.soft_nearest_neighbour]
            config = TrainConfig(
                steps=steps,
                standard_triplet=float(Loss.standard_triplet in losses),
                modified_triplet=float(Loss.modified_triplet in losses),
                soft_nearest_neighbour=float(Loss.soft_nearest_neighbour in losses),
                seed=seed,
                **rate,
            )
            reports = run_training(data, out, config, weights, chosen)
        typer.echo(f"training on {chosen}")
        bar = tqdm(total=steps, unit="step")
        totals = deque[float](maxlen=50)
        for report in reports:
            totals.append(sum(report.losses.values()))
            bar.update(report.step - bar.n)
            bar.set_postfix(loss=f"{sum(totals) / len(totals):.3f}")
        bar.close()
        name = method.value if method in OF_THEIR_OWN else "compact"
        typer.echo(f"weights in {out / f'{name}.safetensors'}, losses in {out / 'curve.svg'}")
