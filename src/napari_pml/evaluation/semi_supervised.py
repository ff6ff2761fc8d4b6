"""The semi-supervised protocol of DAVIS: the first mask is given, every other frame is segmented and scored.

Perazzi et al., CVPR 2016, and Pont-Tuset et al., "The 2017 DAVIS challenge". Videos are segmented by `Session`, so that
what is measured is what a person gets.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

# isort: split
import faiss  # after torch, see `neighbours.py`

from napari_pml.embedding.device import choose_device
from napari_pml.embedding.registry import load_embedder
from napari_pml.engine.segment_video import segment_video
from napari_pml.engine.session import Session
from napari_pml.errors import ExportError, PmlError
from napari_pml.evaluation.davis import DavisSequence
from napari_pml.evaluation.measures import evaluate_masks
from napari_pml.evaluation.results import SequenceResult, Setup, Unscored, mask_path, record_path
from napari_pml.io.label_images import write_mask_png
from napari_pml.methods.config import MethodConfig
from napari_pml.video.video import open_video

Found = TypeVar("Found")


def make_setup(
    dataset: Path, sequences: list[DavisSequence], config: MethodConfig, embedder: str, device: str | None
) -> Setup:
    """Describe an evaluation.

    Args:
        dataset: its folder.
        sequences: of it, at least one.
        config: the method and its settings.
        embedder: name of an embedder, or path of trained weights.
        device: "cuda", "mps" or "cpu"; None: the best there is.

    Raises:
        WeightsError: the embedder cannot be loaded.
        DeviceError: PyTorch cannot use the device.
    """
    chosen = choose_device(device)
    resolution = sequences[0].masks[0].parent.parent.name
    network = load_embedder(embedder, chosen)
    fingerprint = " ".join(filter(None, (network.fingerprint, config.fingerprint(network))))
    name = f"{dataset.resolve().name}/{resolution}"
    return Setup(name, config, embedder, fingerprint, str(chosen), version("napari-pml"))


def run_dataset(
    sequences: list[DavisSequence], out: Path, setup: Setup, jobs: int = 1
) -> Iterator[SequenceResult | Unscored]:
    """Segment and score videos; what an earlier call with an equal setup left in `out` is taken from there, as long as
    frames and true masks are the same.

    Stop it at any time: finished videos are kept.

    Args:
        sequences: to evaluate.
        out: folder for a record and the masks of every video.
        setup: what to evaluate.
        jobs: number of videos at a time, each in its own process; they share the CPU threads.

    Yields:
        What was found in each video, in the order in which they are finished. One that fails does not stop the others.

    Raises:
        ExportError: `out` cannot be written.
    """
    try:
        record_path(out, "").parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExportError(f"{out} cannot be written: {error}. Choose another place.") from error
    due = []
    for sequence in sequences:
        outcome = _outcome(sequence, partial(_known, sequence, out, setup))
        if outcome is None:
            due.append(sequence)
        else:
            yield outcome
    jobs = min(jobs, len(due))
    if jobs > 1:
        yield from _run_in_processes(due, out, setup, jobs)
    else:
        for sequence in due:
            yield _outcome(sequence, partial(run_sequence, sequence, out, setup))


def run_sequence(sequence: DavisSequence, out: Path, setup: Setup) -> SequenceResult:
    """Segment one video from its first mask, score it, and write its masks and then its record.

    Raises:
        PmlError: images, masks or network do not fit, or `out` cannot be written.
    """
    record_path(out, sequence.name).unlink(missing_ok=True)  # the masks that it tells of are about to go
    content = sequence.content()
    video = open_video(sequence.frames[0].parent)
    truth = [sequence.mask(t) for t in range(len(video))]
    session = Session(video, setup.config, embedder=setup.embedder, device=setup.device)
    session.annotate(0, truth[0], complete=True)
    seconds = np.zeros(len(video))
    began = time.perf_counter()
    for _ in session.learn():
        pass
    learning = time.perf_counter() - began
    began = time.perf_counter()
    for mask in segment_video(session):
        now = time.perf_counter()
        seconds[mask.t] += now - began
        began = now
    masks = session.masks.labels[:]
    for t, labels in enumerate(masks):
        write_mask_png(labels, mask_path(out, sequence, t))
    evaluation = evaluate_masks(masks, truth)
    result = SequenceResult(
        sequence.name,
        setup,
        content,
        evaluation,
        tuple(seconds.tolist()),
        learning,
        str(session.device),
        torch.get_num_threads(),
    )
    result.save(out)
    return result


def _known(sequence: DavisSequence, out: Path, setup: Setup) -> SequenceResult | Unscored | None:
    """Return why there is nothing to score in a video, or what an earlier call found in it; None if it has to be done.

    What was found counts if setup, frames and true masks were the same and its masks are still there.
    """
    if len(sequence.frames) < 3:
        return Unscored(sequence.name, "It has less than three frames; the first and the last are not scored.", False)
    if not sequence.mask(0).any():
        return Unscored(sequence.name, "Its first mask is empty: no object is given that could be found.", False)
    result = SequenceResult.load(out, sequence.name)
    if result is None or result.setup != setup or result.content != sequence.content():
        return None
    return result if all(mask_path(out, sequence, t).exists() for t in range(len(sequence.frames))) else None


def _outcome(sequence: DavisSequence, find: Callable[[], Found]) -> Found | Unscored:
    """Return what `find` returns, or why it failed."""
    try:
        return find()
    except PmlError as error:
        return Unscored(sequence.name, str(error), failed=True)
    except BrokenProcessPool:
        reason = "Its process, or one beside it, died; perhaps memory did not suffice. Call again with fewer jobs."
        return Unscored(sequence.name, reason, failed=True)
    except Exception as error:  # a mistake of ours in one video must not cost the others
        logging.getLogger(__name__).error("%s failed", sequence.name, exc_info=error)
        return Unscored(sequence.name, f"{type(error).__name__}: {error}", failed=True)


def _run_in_processes(
    sequences: list[DavisSequence], out: Path, setup: Setup, jobs: int
) -> Iterator[SequenceResult | Unscored]:
    """Do the same as `run_dataset` with several processes, which end at once if the caller ends."""
    others = set(multiprocessing.active_children())
    threads = max(1, torch.get_num_threads() // jobs)
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _start_worker, (threads,)) as pool:
        futures = {pool.submit(run_sequence, sequence, out, setup): sequence for sequence in sequences}
        try:
            for future in as_completed(futures):
                yield _outcome(futures[future], future.result)
        except BaseException:  # Ctrl-C, or the caller wants no more
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in set(multiprocessing.active_children()) - others:
                worker.terminate()
            raise


def _start_worker(threads: int) -> None:
    """Give a process its share of the CPU; it is the first process that answers Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)
    faiss.omp_set_num_threads(threads)
