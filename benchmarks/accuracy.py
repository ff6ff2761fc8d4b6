"""J and F on videos with masks: trained against untrained features, and what each matching choice gives.

    python benchmarks/accuracy.py DATA [--trunk efficientnet-b0.safetensors] [--weights my.safetensors] [--recipes ...]

DATA is a DAVIS-layout folder. Every video is segmented from its first mask; the mean is over sequences, each the mean
over its frames without the first and the last. With --trunk, the features that training starts from are
measured too: both stages standardised per channel over the first frame, made unit length, side by side.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from napari_pml import METHODS, Session, open_video
from napari_pml.embedding.networks.compact import trained_trunk
from napari_pml.embedding.registry import load_embedder
from napari_pml.evaluation.davis import find_sequences
from napari_pml.evaluation.measures import evaluate_masks
from napari_pml.grid import pad_to_cells

DEFAULT, PAPER = METHODS["pml"], METHODS["pml-paper"]

RECIPES = {
    "plain retrieval, k = 5": replace(PAPER, adaptation=False, refine="none"),
    "paper": PAPER,
    "default": DEFAULT,
    "no context": replace(DEFAULT, context_frames=0),
    "context 1": replace(DEFAULT, context_frames=1),
    "context 5": replace(DEFAULT, context_frames=5),
    "window 6": replace(DEFAULT, window=6),
    "window 18": replace(DEFAULT, window=18),
    "k = 2": replace(DEFAULT, k=2),
    "k = 10": replace(DEFAULT, k=10),
    "temperature 0.03": replace(DEFAULT, temperature=0.03),
    "temperature 0.1": replace(DEFAULT, temperature=0.1),
    "soft votes": replace(DEFAULT, votes="soft"),
    "balanced votes": replace(DEFAULT, votes="balanced"),
    "no adaptation": replace(DEFAULT, adaptation=False),
    "no edges": replace(DEFAULT, refine="none"),
}


class TrunkEmbedder:
    """Features as they come from ImageNet, standardised over the first frame."""

    name, stride, fingerprint, weights = "untrained trunk", 8, "", None

    def __init__(self, path: Path):
        self.device = torch.device("cpu")
        self.trunk = trained_trunk(path)
        self.dim = sum(self.trunk.widths)
        self.statistics: list[tuple[torch.Tensor, torch.Tensor]] = []

    def to(self, device: torch.device) -> None:
        """Stay where it is: this is measured on the CPU."""

    @torch.inference_mode()
    def embed(self, frames: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Return (1, D, h, w); the first frame, which is annotated and therefore comes first, sets the scale."""
        depths = self.trunk(pad_to_cells(frames, self.stride))
        if t.item() == -1:
            self.statistics = [torch.std_mean(x, dim=(0, 2, 3), keepdim=True) for x in depths]
        scaled = [(x - mean) / std.clamp_min(1e-6) for x, (std, mean) in zip(depths, self.statistics, strict=True)]
        return F.normalize(torch.cat([F.normalize(x, dim=1) for x in scaled], dim=1), dim=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--trunk", type=Path)
    parser.add_argument("--weights", default="compact", help="a .safetensors file instead of the bundled network")
    parser.add_argument("--recipes", nargs="*", default=list(RECIPES), choices=RECIPES)
    args = parser.parse_args()

    embedders = {"trained": lambda: load_embedder(args.weights, torch.device("cpu"))}
    if args.trunk:
        embedders = {"untrained": lambda: TrunkEmbedder(args.trunk), **embedders}
    results: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    for sequence in find_sequences(args.data):
        video = open_video(sequence.frames[0].parent)
        truth = [sequence.mask(t) for t in range(len(video))]
        for name, make in embedders.items():
            session = Session(video, embedder=make())
            session.annotate(0, truth[0], complete=True)
            for t in range(len(video)):
                session.embeddings[t]  # every recipe then finds them, so that times compare
            for recipe in args.recipes:
                session.config = RECIPES[recipe]
                began = time.perf_counter()
                masks = {mask.t: mask.labels for mask in session.propagate()}
                seconds = (time.perf_counter() - began) / len(video)
                score = evaluate_masks([masks[t] for t in range(len(video))], truth)
                results.setdefault((name, recipe), []).append((score.j_mean, score.f_mean, seconds))
                print(f"{sequence.name:12} {name:10} {recipe:24} J {score.j_mean:.3f} F {score.f_mean:.3f}", flush=True)
    print(f"\n{'features':10} {'recipe':24} {'J':>6} {'F':>6} {'J&F':>6}  s/frame without embedding")
    for (name, recipe), scores in results.items():
        j, f, seconds = np.mean(scores, axis=0)
        print(f"{name:10} {recipe:24} {100 * j:6.1f} {100 * f:6.1f} {50 * (j + f):6.1f}  {seconds:.2f}")


if __name__ == "__main__":
    main()
