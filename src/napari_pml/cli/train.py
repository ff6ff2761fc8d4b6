"""napari-pml train."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_pml.cli.common import Device, app, clear_errors
from napari_pml.errors import SettingsError

if TYPE_CHECKING:
    from napari_pml.training.loop import StepReport


class Network(StrEnum):
    """What can be trained."""

    embedder = "embedder"
    mask_head = "mask-head"
    feelvos = "feelvos"
    osvos = "osvos"


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
    network: Annotated[
        Network,
        typer.Option(
            help="The embedder; the mask head or FEELVOS's network, on embeddings as they are; the parent of OSVOS."
        ),
    ] = Network.embedder,
    loss: Annotated[
        list[Loss] | None,
        typer.Option(help="A loss of the embedder; give it once for each. If not given, the last two."),
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
            "the mask head and feelvos.",
        ),
    ] = None,
    fold: Annotated[
        int | None,
        typer.Option(min=0, max=4, help="For the mask head: leave every fifth video and still out, from this one on."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    device: Device = None,
) -> None:
    """Adapt the network to your own videos or stills with masks, or train one from scratch.

    It can be adapted on a few annotated frames; 300 steps take five to ten minutes on two CPU cores. Writes
    compact.safetensors (for --embedder), log.csv, its picture curve.svg, and checkpoint.pt into OUT; with another
    --network also mask-head.safetensors, feelvos.safetensors or osvos.safetensors, which is used whenever
    compact.safetensors beside it is. Stop it at any time and call it again to go on.
    """
    with clear_errors():
        from tqdm import tqdm

        from napari_pml.embedding.device import choose_device
        from napari_pml.training.train import TrainConfig, run_training
        from napari_pml.training.train_feelvos import FeelvosTrainConfig, train_feelvos
        from napari_pml.training.train_mask_head import MaskHeadTrainConfig, train_mask_head
        from napari_pml.training.train_osvos import OsvosTrainConfig, train_osvos

        if loss and network is not Network.embedder:
            raise SettingsError(f"{network} has a loss of its own: leave out --loss, or choose another --network.")
        if fold is not None and network is not Network.mask_head:
            raise SettingsError(f"{network} is trained on everything: leave out --fold, or train the mask head.")
        rate: dict[str, Any] = {} if learning_rate is None else {"learning_rate": learning_rate}
        weights = None if start == "bundled" else Path(start)
        chosen = choose_device(device)
        reports: Iterator[StepReport]
        if network is Network.mask_head:
            head = MaskHeadTrainConfig(steps=steps, seed=seed, fold=fold, **rate)
            reports = train_mask_head(data, out, head, weights, chosen)
        elif network is Network.feelvos:
            feelvos = FeelvosTrainConfig(steps=steps, seed=seed, **rate)
            reports = train_feelvos(data, out, feelvos, weights, chosen)
        elif network is Network.osvos:
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
        name = "compact" if network is Network.embedder else network.value
        typer.echo(f"weights in {out / f'{name}.safetensors'}, losses in {out / 'curve.svg'}")
