"""What every part of a 480p frame takes, how that grows, and what a correction takes: ratios within one run.

    python benchmarks/speed.py [--gate] [--only parts search growth correction]

Rates of large matrix products and convolutions are measured first, as the machine's peak. With --gate the program
fails if a ratio is worse than `LIMITS` allows. Ratios hardly depend on the machine; times do.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

# isort: split
import faiss  # after torch, see `neighbours.py`

from napari_pml import METHODS, MaskStore, Session, open_video
from napari_pml.demo import make_clip
from napari_pml.embedding.device import choose_device
from napari_pml.embedding.protocol import Embedder
from napari_pml.embedding.registry import load_embedder
from napari_pml.grid import grid_shape
from napari_pml.io.label_images import write_mask_png
from napari_pml.io.overlay import export_overlay
from napari_pml.methods.neighbours import nearest, nearest_in_window
from napari_pml.methods.retrieval import Retrieval
from napari_pml.refinement.guided_filter import Refiner
from napari_pml.types import FrameMask

HEIGHT, WIDTH = 480, 854

LIMITS = {
    "embed a frame / its operations at peak": 8.0,
    "retrieve / matrix product": 3.0,
    "retrieve / the better of faiss and torch": 2.0,
    "a frame of 40 / a frame of 10": 1.3,
    "a frame with 20 objects / with 1": 3.0,
    "retrieval of a correction / of everything": 0.4,
}
"""The largest ratio that passes: about twice what a quiet machine shows."""


class Report:
    """Prints rows, and remembers the ratios that are to be kept."""

    def __init__(self) -> None:
        self.ratios: dict[str, float] = {}

    def row(self, name: str, seconds: float, remark: str = "") -> None:
        """Print what something takes."""
        print(f"{name:52} {1000 * seconds:9.1f} ms   {remark}", flush=True)

    def ratio(self, name: str, value: float) -> None:
        """Print a ratio, and remember it."""
        self.ratios[name] = value
        limit = f"(limit {LIMITS[name]:g})" if name in LIMITS else ""
        print(f"{name:52} {value:9.2f} x    {limit}", flush=True)

    def failures(self) -> list[str]:
        """Return the ratios beyond their limits."""
        return [f"{name}: {self.ratios[name]:.2f}" for name in LIMITS if self.ratios.get(name, 0) > LIMITS[name]]


def seconds(function: Callable[[], object], repeats: int = 7) -> float:
    """Return the median time of a call, after a first one that is not counted."""
    function()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        function()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return median(times)


def unit_vectors(*shape: int, device: torch.device) -> torch.Tensor:
    """Return random vectors as embeddings are: of length 1, in multiples of 2^-11."""
    return (F.normalize(torch.randn(*shape, device=device), dim=-1) * 2**11).round() / 2**11


def peaks(device: torch.device) -> tuple[float, float]:
    """Return the operations a second of a large matrix product and of a large convolution."""
    a = torch.randn(2048, 2048, device=device)
    x, kernel = torch.randn(1, 128, 128, 128, device=device), torch.randn(128, 128, 3, 3, device=device)
    product = 2 * 2048**3 / seconds(lambda: a @ a)
    convolution = 2 * 128 * 128 * 9 * 128 * 128 / seconds(lambda: F.conv2d(x, kernel, padding=1))
    print(f"peak: {product / 1e9:.0f} GFLOP/s of a matrix product, {convolution / 1e9:.0f} of a convolution\n")
    return product, convolution


def measure_parts(report: Report, embedder: Embedder) -> None:
    """Decode, embed, retrieve, refine, write."""
    device = embedder.device
    product, convolution = peaks(device)
    frames, truth = make_clip(n_frames=12, height=HEIGHT, width=WIDTH, n_objects=2)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = MaskStore(truth.shape, grid_shape(HEIGHT, WIDTH, 8))
        for t, labels in enumerate(truth):
            store.put(FrameMask(t, labels, np.ones(store.grid, np.float32), 1))
        export_overlay(open_video(frames), store, folder / "clip.mp4")

        def decode() -> None:
            video = open_video(folder / "clip.mp4")
            for t in range(len(frames)):
                video.rgb(t)

        report.row("decode a frame (mp4) to RGB in 0..1", seconds(decode, 3) / len(frames))

        frame, place = torch.rand(1, 3, HEIGHT, WIDTH), torch.zeros(1)
        with FlopCounterMode(display=False) as counter:
            embedder.embed(frame, place)
        operations = counter.get_total_flops()
        embed = seconds(lambda: embedder.embed(frame, place))
        rate = operations / embed
        report.row("embed a frame, once", embed, f"{rate / 1e9:.0f} GFLOP/s")
        report.ratio("embed a frame / its operations at peak", convolution / rate)

        h, w = grid_shape(HEIGHT, WIDTH, embedder.stride)
        cells = unit_vectors(h, w, embedder.dim, device=device)
        flat, k = cells.flatten(0, 1), METHODS["pml"].k
        retrieve = seconds(lambda: nearest(flat, flat, k))
        rate = 2 * len(flat) ** 2 * embedder.dim / retrieve
        report.row(f"retrieve among {h * w} references", retrieve, f"{rate / product:.0%} of peak")
        report.ratio("retrieve / matrix product", retrieve / seconds(lambda: flat @ flat.T))
        context = torch.stack([cells] * 3)
        everywhere = torch.ones(-(-h // 8), -(-w // 8), dtype=torch.bool, device=device)
        windows = seconds(lambda: nearest_in_window(cells, context, k, 12, everywhere))
        report.row("retrieve in windows of 3 frames, everywhere", windows)

        session = Session(open_video(frames), embedder=embedder)
        session.annotate(0, truth[0], complete=True)
        list(session.propagate())
        scores = session._segmenter.method.segment(6, [session.masks[t] for t in range(6)])
        report.row(
            "refine along edges, two objects", seconds(lambda: Refiner(session.embeddings.video)(6, scores, "edges"))
        )
        report.row("write a mask as PNG", seconds(lambda: write_mask_png(truth[3], folder / "mask.png")))
        disk, masks = MaskStore(truth.shape, store.grid, folder / "masks.zarr"), [store[t] for t in range(len(truth))]
        report.row("write a mask to Zarr on disk", seconds(lambda: [disk.put(m) for m in masks], 3) / len(masks))

        def whole() -> None:
            fresh = Session(open_video(frames), embedder=embedder)
            fresh.annotate(0, truth[0], complete=True)
            list(fresh.propagate())

        each = seconds(whole, 1) / len(frames)
        report.row("a frame of a whole run", each, f"{1 / each:.1f} frames a second")


def measure_search(report: Report, embedder: Embedder) -> None:
    """Ours beside faiss and torch, whichever is better, at several numbers of references."""
    queries, k = unit_vectors(6420, embedder.dim, device=embedder.device), METHODS["pml"].k

    def beside(n: int) -> float:
        references = unit_vectors(n, embedder.dim, device=embedder.device)
        ours = seconds(lambda: nearest(queries, references, k), 5)
        others = {"torch": seconds(lambda: (queries @ references.T).topk(k), 5)}
        if references.device.type == "cpu":
            a, b = queries.numpy(), references.numpy()
            others["faiss"] = seconds(lambda: faiss.knn(a, b, k, metric=faiss.METRIC_INNER_PRODUCT), 5)
        remark = ", ".join(f"{name} {1000 * value:.1f} ms" for name, value in others.items())
        report.row(f"search of 6420 cells among {n} references", ours, remark)
        return ours / min(others.values())

    beside(100)  # mostly the few milliseconds that putting equals in order takes
    report.ratio("retrieve / the better of faiss and torch", max(beside(n) for n in (1000, 6420, 25_000)))


def measure_growth(report: Report, embedder: Embedder) -> None:
    """Seconds a frame of a whole run: frames, objects, resolution."""

    def run(n_frames: int, n_objects: int, height: int) -> float:
        width = round(height * WIDTH / HEIGHT / 2) * 2
        frames, truth = make_clip(n_frames=n_frames, height=height, width=width, n_objects=min(n_objects, 3))
        first = truth[0]
        if n_objects > 3:  # stripes of what is not one of the three
            stripes = (np.arange(width) * (n_objects - 3) // width + 4).astype(np.uint16)
            first = np.where(first == 0, np.broadcast_to(stripes, first.shape), first)
        session = Session(open_video(frames), embedder=embedder)
        session.annotate(0, first, complete=True)
        began = time.perf_counter()
        list(session.propagate())
        each = (time.perf_counter() - began) / n_frames
        report.row(f"{n_frames} frames, {n_objects} objects, {width} x {height}", each, "a frame")
        return each

    run(4, 1, HEIGHT)  # not counted: the first run of a process is slower
    short, long = run(10, 1, HEIGHT), run(40, 1, HEIGHT)
    report.ratio("a frame of 40 / a frame of 10", long / short)
    many = [run(10, n, HEIGHT) for n in (5, 20, 50)]
    report.ratio("a frame with 20 objects / with 1", many[1] / short)
    small, large = run(10, 1, HEIGHT // 2), run(10, 1, 2 * HEIGHT)
    report.ratio("a frame of twice the side", large / short)
    report.ratio("a frame of half the side", small / short)


@contextmanager
def retrieval_watched() -> Iterator[list[float]]:
    """Note the time that every search among annotated pixels takes meanwhile."""
    times: list[float] = []
    call = Retrieval.__call__

    def watched(self: Retrieval, *args: object) -> object:
        began = time.perf_counter()
        found = call(self, *args)
        times.append(time.perf_counter() - began)
        return found

    with patch.object(Retrieval, "__call__", watched):
        yield times


def measure_correction(report: Report, embedder: Embedder) -> None:
    """A stroke of 200 pixels on 100 frames that are segmented already, beside segmenting them with that stroke anew."""
    frames, truth = make_clip(n_frames=100, height=HEIGHT, width=WIDTH, n_objects=2)
    stroke = np.zeros((HEIGHT, WIDTH), np.uint16)
    y, x = (int(c.mean()) for c in np.nonzero(truth[50] == 1))
    stroke[y - 5 : y + 5, x - 10 : x + 10] = 1  # 200 pixels
    for name, config in {
        "every frame by itself": replace(METHODS["pml-paper"], adaptation=False, refine="none"),
        "default": METHODS["pml"],
    }.items():
        took, searched, masks = [], [], []
        for at_once in (False, True):
            session = Session(open_video(frames), config, embedder=embedder)
            for t in range(len(frames)):
                _ = session.embeddings[t]
            session.annotate(0, truth[0], complete=True)
            if not at_once:
                list(session.propagate(50))
            session.annotate(50, stroke)
            with retrieval_watched() as times:
                began = time.perf_counter()
                list(session.propagate(50))
                took.append(time.perf_counter() - began)
            searched.append(sum(times))
            masks.append(np.stack([session.masks[t].labels for t in range(len(frames))]))
        report.row(f"{name}: all frames after a correction", took[0], f"of which searches {searched[0]:.2f} s")
        report.row(f"{name}: all frames anew", took[1], f"of which searches {searched[1]:.2f} s")
        report.ratio(f"{name}: correction / everything anew", took[0] / took[1])
        if name != "default":
            report.ratio("retrieval of a correction / of everything", searched[0] / searched[1])
        if not np.array_equal(*masks):
            raise SystemExit(f"{name}: the masks after a correction are not those of everything anew")


PARTS = {
    "parts": measure_parts,
    "search": measure_search,
    "growth": measure_growth,
    "correction": measure_correction,
}


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gate", action="store_true", help="fail if a ratio is beyond its limit")
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS))
    args = parser.parse_args()
    device = choose_device()
    print(f"{device}, {torch.get_num_threads()} threads, frames of {WIDTH} x {HEIGHT}")
    report, embedder = Report(), load_embedder("compact", device)
    for name in args.only:
        print(f"\n{name}")
        PARTS[name](report, embedder)
    if failures := report.failures():
        print("\nbeyond the limit: " + "; ".join(failures))
        if args.gate:
            raise SystemExit(1)


if __name__ == "__main__":
    main()
