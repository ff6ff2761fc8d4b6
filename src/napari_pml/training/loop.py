"""The loop that every network is trained in: steps, checkpoints, a log, and in the end the averaged weights."""

from __future__ import annotations

import copy
import csv
import json
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any
from zipfile import ZipFile

import torch
from torch import nn

from napari_pml.disk import durable
from napari_pml.embedding.networks.compact import CompactNet
from napari_pml.embedding.weights import digest, load_weights, save_weights
from napari_pml.errors import DeviceError, ExportError, WeightsError
from napari_pml.training.curve import plot_log

CHECKPOINT_EVERY = 100
"""Steps between checkpoints."""

LOG_EVERY = 10
"""Steps whose mean is one row of the log."""


@dataclass(frozen=True)
class LoopConfig:
    """What every training needs to know.

    Attributes:
        steps: optimiser steps in all.
        learning_rate: at its peak; rises over the first 100 steps, but at most over a tenth of all, then falls as
            (1 - step / steps) ** 0.9.
        weight_decay: of AdamW.
        average: decay of the running average of the weights, which is what is kept in the end.
        seed: of everything random.
    """

    steps: int = 3000
    learning_rate: float = 1e-4
    weight_decay: float = 1e-4
    average: float = 0.998
    seed: int = 0


@dataclass(frozen=True)
class StepReport:
    """What one step showed.

    Attributes:
        step: its number, from 1.
        losses: name -> mean over the step's clips, before weighting.
        gradient_norm: before clipping.
    """

    step: int
    losses: dict[str, float]
    gradient_norm: float


@contextmanager
def denormals_flushed() -> Iterator[None]:
    """Take numbers next to 0 for 0 meanwhile: gradients of far neighbours vanish, and then slow a CPU down by half.

    Only meanwhile, because SciPy's search trees crash without such numbers.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


class Training(ABC):
    """A network on its way: everything that a checkpoint holds, and the step that changes it.

    Attributes:
        config: how to train.
        data: names of the folders that are trained on.
        about: what else the weights depend on; becomes metadata of theirs.
        net: what is trained.
        average: the running average of its weights.
        device: where it is trained.
        generator: source of randomness whose state belongs to the checkpoint.
        step: steps taken.
    """

    def __init__(
        self,
        data: Sequence[Path],
        config: LoopConfig,
        net: nn.Module,
        factors: Mapping[nn.Module, float],
        **about: str,
    ) -> None:
        """Begin at step 0.

        Args:
            data: folders that are trained on.
            config: how to train.
            net: with its initial weights, on its device.
            factors: parts of the network, and by how much the learning rate of each is larger than that of the config.
            about: what else the weights depend on.
        """
        self.config, self.net, self.about = config, net, about
        self.device = next(net.parameters()).device
        self.data = [folder.resolve().name for folder in data]
        self.average = copy.deepcopy(net).requires_grad_(False)
        self.generator = torch.Generator().manual_seed(config.seed)
        groups = [{"params": part.parameters(), "factor": factor} for part, factor in factors.items()]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=config.weight_decay)
        self.step = 0

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        """What is kept in the end."""
        return self.average.state_dict()

    @abstractmethod
    def add_gradients(self) -> dict[str, float]:
        """Add up the gradients of one step; return its losses by their names, always the same ones."""

    @denormals_flushed()
    def take_step(self) -> StepReport:
        """Change the weights once."""
        config = self.config
        warm_up = min(1.0, (self.step + 1) / min(100, config.steps / 10))
        rate = config.learning_rate * warm_up * (1 - self.step / config.steps) ** 0.9
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        self.optimizer.zero_grad(set_to_none=True)
        losses = self.add_gradients()
        norm = nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
        if norm.isfinite():  # a step on a broken gradient would be kept for ever by the optimiser's averages
            self.optimizer.step()
        self.step += 1
        with torch.no_grad():
            weight = 1 - min(config.average, self.step / (self.step + 10))
            for kept, new in zip(self.average.parameters(), self.net.parameters(), strict=True):
                kept.lerp_(new, weight)
        return StepReport(self.step, losses, norm.item())

    def save(self, path: Path) -> None:
        """Write everything needed to go on; the checkpoint before stays beside it, see `earlier`."""
        state = {
            "config": asdict(self.config),
            "data": self.data,
            "about": self.about,
            "step": self.step,
            "net": self.net.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        if path.exists():
            path.replace(earlier(path))
        durable.replace(partial, path)

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint; if that is damaged, or was never finished, from the one before.

        Raises:
            WeightsError: both are damaged, or it was written under another configuration (the number of steps
                included), for other data, from another start, or on another embedder.
        """
        wanted = {"data": self.data, **asdict(self.config), **self.about}
        state = next((state for place in (path, earlier(path)) if (state := self._read(place)) is not None), None)
        if state is None:
            raise WeightsError(f"{path} is damaged. Use another folder to train from the start.")
        about = self.about | state["about"]  # earlier ones say less
        found = {"data": state["data"], **state["config"], **about}
        if differing := [key for key, value in wanted.items() if found.get(key) != value]:
            key = differing[0]
            raise WeightsError(
                f"{path} is of another training: {key} was {found.get(key)}, now it is {wanted[key]}. Use the same "
                "frames and masks, settings and start (--from) to go on, or another folder to start again."
            )
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"].cpu())
        self.step = state["step"]

    def _read(self, path: Path) -> dict[str, Any] | None:
        """Return what a checkpoint holds, None if it is damaged or not there."""
        try:
            with ZipFile(path) as archive:  # PyTorch itself leaves checksums alone
                if archive.testzip() is not None:
                    return None
            state: dict[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
            return {"about": {}, **state} if {"data", "config", "step"} <= state.keys() else None
        except Exception:  # on a damaged file, they raise anything
            return None


def earlier(checkpoint: Path) -> Path:
    """Return where the checkpoint before the last one lies."""
    return checkpoint.with_stem(f"{checkpoint.stem}-before")


def run(training: Training, out: Path, name: str, embedder: Path | None = None) -> Iterator[StepReport]:
    """Train in a folder, going on from its checkpoint if it holds one; yields after every step.

    Writes `checkpoint.pt`, `log.csv` and its picture `curve.svg` every hundred steps, and in the end the averaged
    weights. Weights that lie there already and are not of this run are never written over; those of a finished run
    stay as they are.

    Args:
        training: at step 0.
        out: folder of the run; made if it does not exist.
        name: of the network, whose weights become `name`.safetensors.
        embedder: weights of the embedder that belongs to the network, if that is another network: they are copied
            beside it, as `compact.safetensors`.

    Raises:
        WeightsError: the checkpoint does not fit, or other weights would be lost.
        ExportError: the disk refuses; the last complete checkpoint stays.
        DeviceError: the device's memory does not suffice.
    """
    checkpoint, log, recent = out / "checkpoint.pt", out / "log.csv", list[StepReport]()
    weights = out / f"{name}.safetensors"
    if checkpoint.exists() or earlier(checkpoint).exists():
        training.resume(checkpoint)
    elif weights.exists():
        raise WeightsError(
            f"{weights} is there already, without a checkpoint to go on from, and would be lost. Use another folder."
        )
    with _disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        durable.sync_folder(out.parent)
        if embedder is not None:
            _copy_embedder(embedder, out / f"{CompactNet.name}.safetensors")
        _forget_after(training.step, log)
    if training.step == training.config.steps and _is_whole(weights):
        return
    while training.step < training.config.steps:
        try:
            recent.append(training.take_step())
        except torch.OutOfMemoryError as error:
            raise DeviceError(
                f"The memory of {training.device} does not suffice for this training. Close other programs that use "
                "it, or train on the CPU, and call again to go on."
            ) from error
        yield recent[-1]
        if training.step % CHECKPOINT_EVERY == 0 or training.step == training.config.steps:
            with _disk_errors(out):
                _log(log, recent)
                plot_log(log, out / "curve.svg")
                durable.sync([log])
                training.save(checkpoint)  # last: what it does not know of is forgotten, and done again
            recent.clear()
    about = training.about | {
        "steps": str(training.step),
        "data": " ".join(training.data),
        "config": json.dumps(asdict(training.config)),
    }
    with _disk_errors(out):
        save_weights(training.weights, weights, name, **about)


def _is_whole(weights: Path) -> bool:
    """Whether there are weights that can be read."""
    try:
        load_weights(weights)
    except WeightsError:
        return False
    return True


def _copy_embedder(weights: Path, place: Path) -> None:
    """Copy weights, unless they are there already.

    Raises:
        WeightsError: others are there.
    """
    if not place.exists():
        partial = place.with_suffix(".partial")
        shutil.copyfile(weights, partial)
        durable.replace(partial, place)
    elif digest(place) != digest(weights):
        raise WeightsError(f"{place} holds another embedder than {weights}, and would be lost. Use another folder.")


@contextmanager
def _disk_errors(out: Path) -> Iterator[None]:
    """Turn what the disk says into an ExportError."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # the latter from torch
        raise ExportError(
            f"The training cannot be saved in {out}: {error}. Make room on the disk, or choose another folder; the "
            "last complete checkpoint stays."
        ) from error


def _forget_after(step: int, path: Path) -> None:
    """Take the rows after a step out of a log, which a killed process may have left half written."""
    if path.exists():
        header, *rows = path.read_bytes().splitlines(keepends=True) or [b""]
        numbers = (re.match(rb"\d+(?=,.*\n$)", row) for row in rows)
        kept = [row for row, number in zip(rows, numbers, strict=True) if number and int(number[0]) <= step]
        durable.write(path, b"".join([header, *kept] if kept else []))


def _log(path: Path, recent: list[StepReport]) -> None:
    """Append the means over every few steps as a row."""
    rows = [{**report.losses, "gradient_norm": report.gradient_norm} for report in recent]
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if file.tell() == 0:
            writer.writerow(["step", *rows[0]])
        for i in range(0, len(rows), LOG_EVERY):
            chunk = rows[i : i + LOG_EVERY]
            means = [f"{fmean(row[name] for row in chunk):.4f}" for name in rows[0]]
            writer.writerow([recent[i + len(chunk) - 1].step, *means])
