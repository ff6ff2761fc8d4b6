"""The robot at work on a dataset: one JSON file per sequence, so that a study goes on where it was stopped."""

from __future__ import annotations

import json
import traceback
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from napari_pml.embedding.protocol import Embedder
from napari_pml.engine.session import Session
from napari_pml.errors import ExportError, PmlError
from napari_pml.evaluation.davis import DavisSequence
from napari_pml.evaluation.interactive import Interaction, Protocol, TrueMasks, interact
from napari_pml.io.destination import written
from napari_pml.methods.config import MethodConfig
from napari_pml.video.video import open_video

Run = list[Interaction]
"""The interactions on one video from one start, in order; at least one."""


@dataclass(frozen=True)
class Outcome:
    """What came of one sequence.

    Attributes:
        sequence: its name.
        runs: one for every start; empty if it failed.
        error: why it failed.
    """

    sequence: str
    runs: tuple[Run, ...] = ()
    error: Exception | None = None

    def describe(self) -> str:
        """Say it in a line; with a traceback, if it failed for a reason that is no fault of the data."""
        if isinstance(self.error, PmlError):
            return f"{self.sequence} failed: {self.error}"
        if self.error is not None:
            return f"{self.sequence} failed: {''.join(traceback.format_exception(self.error))}"
        first, last = (np.mean([run[i].j_and_f for run in self.runs]) for i in (0, -1))
        seconds = np.mean([run[-1].seconds_in_all for run in self.runs])
        return f"{self.sequence}: J&F {first:.3f} after the first interaction, {last:.3f} in the end, {seconds:.1f} s"


class Study:
    """One protocol and one way to segment, over a DAVIS-layout dataset."""

    def __init__(self, dataset: Path, out: Path, protocol: Protocol, config: MethodConfig, embedder: Embedder):
        """Say what to measure.

        Args:
            dataset: its folder, whose name is part of the settings.
            out: folder for `sequences/<name>.json`; what another call with the same settings left there is kept, as
                long as frames and true masks are the same.
            protocol: how the robot works.
            config: the method and its settings.
            embedder: the network, on its device.
        """
        self._folder = out / "sequences"
        self._config, self._embedder = config, embedder
        self.protocol = protocol
        self.settings: Mapping[str, object] = {
            "dataset": dataset.resolve().name,
            **asdict(protocol),
            **config.as_record(),
            "embedder": embedder.name,
            "fingerprint": " ".join(filter(None, (embedder.fingerprint, config.fingerprint(embedder)))),
            "device": str(embedder.device),
        }

    def run(self, sequences: Collection[DavisSequence]) -> Iterator[Outcome]:
        """Measure one sequence after the other; one that fails does not keep the others from their turn.

        Raises:
            ExportError: results of other settings are in the way, or the results cannot be written.
        """
        earlier = {sequence.name: self._read(sequence.name) for sequence in sequences}
        for sequence in sequences:
            measured_on, runs = earlier[sequence.name]
            try:
                content = sequence.content()
                if content != measured_on:
                    runs = self._measure(sequence)
            except Exception as error:  # whatever it is: the next sequence may well work
                yield Outcome(sequence.name, error=error)
                continue
            if content != measured_on:
                self._write(sequence.name, content, runs)
            yield Outcome(sequence.name, runs)

    def _measure(self, sequence: DavisSequence) -> tuple[Run, ...]:
        video = open_video(sequence.frames[0].parent)
        truth = TrueMasks(sequence.mask, len(sequence.frames))
        return tuple(
            list(interact(Session(video, self._config, embedder=self._embedder), truth, self.protocol, start))
            for start in truth.starts(self.protocol.starts)
        )

    def _read(self, name: str) -> tuple[str, tuple[Run, ...]]:
        """Return what an earlier call found, after the content of the sequence; nothing of either if there is none."""
        path = self._folder / f"{name}.json"
        if not path.exists():
            return "", ()
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            settings, content = found["settings"], found.get("content", "")  # which earlier versions did not keep
            runs = tuple([Interaction(**row) for row in run] for run in found["runs"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ExportError(
                f"{path} is no result of the robot: {error}. Remove it, or choose another --out."
            ) from error
        if differing := [key for key, value in self.settings.items() if settings.get(key) != value]:
            raise ExportError(
                f"{path} was measured with other settings: {differing[0]} was {settings.get(differing[0])}, now it is "
                f"{self.settings[differing[0]]}. Choose another folder for --out."
            )
        return content, runs

    def _write(self, name: str, content: str, runs: tuple[Run, ...]) -> None:
        rows = [[asdict(interaction) for interaction in run] for run in runs]
        with written(self._folder / f"{name}.json") as unfinished:
            record = {"content": content, "settings": self.settings, "runs": rows}
            unfinished.write_text(json.dumps(record, indent=1), encoding="utf-8")
