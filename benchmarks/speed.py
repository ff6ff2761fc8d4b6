"""Times of the parts of a 480p frame, each beside a reference that was measured in the same run.

    python benchmarks/speed.py

A ratio near 1 says that a part costs no more than the arithmetic it cannot avoid.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
import torch.nn.functional as F

from napari_pml import PmlConfig, Session, open_video
from napari_pml.demo import make_clip
from napari_pml.embedding.compact import CompactNet
from napari_pml.embedding.embedder import choose_device, load_embedder
from napari_pml.embedding.weights import bundled
from napari_pml.grid import grid_shape, pad_to_cells
from napari_pml.methods.neighbours import nearest, nearest_in_window
from napari_pml.methods.windows import TILE

HEIGHT, WIDTH = 480, 854


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


def show(name: str, time_: float, reference: str, reference_time: float) -> None:
    beside = f"{time_ / reference_time:6.2f} x {reference} ({1000 * reference_time:.1f} ms)"
    print(f"{name:44} {1000 * time_:8.1f} ms   {beside}")


@torch.inference_mode()
def main() -> None:
    device = choose_device()
    print(f"{device}, {torch.get_num_threads()} threads, frames of {WIDTH} x {HEIGHT}")
    embedder = load_embedder("compact", device)
    h, w = grid_shape(HEIGHT, WIDTH, embedder.stride)
    config = PmlConfig()

    frame, t = torch.rand(1, 3, HEIGHT, WIDTH), torch.zeros(1)
    trunk = (
        CompactNet.from_file(bundled(CompactNet.name))[0].trunk.to(device).to(memory_format=torch.channels_last).eval()
    )
    padded = pad_to_cells(frame, embedder.stride).to(device).contiguous(memory_format=torch.channels_last)
    convolutions = seconds(lambda: trunk(padded))
    show("embed a frame", seconds(lambda: embedder.embed(frame, t)), "bare trunk", convolutions)

    queries = F.normalize(torch.randn(h, w, embedder.dim, device=device), dim=-1)
    flat = queries.flatten(0, 1)
    product = seconds(lambda: flat @ flat.T)
    show(
        f"retrieve among {h * w} references", seconds(lambda: nearest(flat, flat, config.k)), "matrix product", product
    )
    context = queries.expand(config.context_frames, h, w, -1).contiguous()
    n_window = config.context_frames * (TILE + 2 * config.window) ** 2
    part = flat[:n_window]
    window = seconds(lambda: flat @ part.T)
    everywhere = torch.ones(-(-h // TILE), -(-w // TILE), dtype=torch.bool, device=device)
    show(
        f"retrieve in windows of {config.context_frames} frames, everywhere",
        seconds(lambda: nearest_in_window(queries, context, config.k, config.window, everywhere)),
        "matrix product",
        window,
    )

    frames, truth = make_clip(n_frames=8, height=HEIGHT, width=WIDTH, n_objects=2)
    session = Session(open_video(frames), embedder=embedder)
    for i in range(len(frames)):
        session.embeddings[i]

    def stroke(i: int) -> None:
        labels = np.zeros((HEIGHT, WIDTH), np.uint16)
        y, x = (int(c.mean()) for c in np.nonzero(truth[4] == 1))
        labels[y - 3 + i % 2 : y + 3, x - 20 : x + 20] = 1
        session.annotate(4, labels)
        session.segment(4)

    count = iter(range(10**6))
    print(
        f"{'stroke to mask, strokes only':44} {1000 * seconds(lambda: stroke(next(count))):8.1f} ms   (target 150 ms)"
    )
    session.annotate(0, truth[0], complete=True)
    list(session.propagate())
    beside = 1000 * seconds(lambda: stroke(next(count)))
    print(f"{'stroke to mask, beside a complete frame':44} {beside:8.1f} ms   (target 150 ms)")

    def whole() -> None:
        fresh = Session(open_video(frames), embedder=embedder)
        fresh.annotate(0, truth[0], complete=True)
        list(fresh.propagate())

    whole_time = seconds(whole, 1) / len(frames)
    show("a frame of a whole run", whole_time, "bare trunk", convolutions)
    print(f"{1 / whole_time:.1f} frames per second")


if __name__ == "__main__":
    main()
