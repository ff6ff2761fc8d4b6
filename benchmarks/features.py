"""What the embedding owes to resolution, length, mirrored copies, coordinates: plain retrieval on some frames.

    python benchmarks/features.py DATA [--weights FILE ...] [--trunk FILE ...] [--every 8]

DATA is a DAVIS-layout folder. Every EVERY-th frame is segmented by its 5 nearest neighbours in the first frame, hard
votes, no context, no adaptation, outlines between the cells. J and F are means over sequences.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from accuracy import TrunkEmbedder
from napari_pml import METHODS, Session, open_video
from napari_pml.embedding.networks.compact import CompactNet
from napari_pml.embedding.protocol import Embedder
from napari_pml.embedding.weights import bundled
from napari_pml.evaluation.davis import find_sequences
from napari_pml.evaluation.measures import boundary_accuracy, region_similarity

PLAIN = replace(METHODS["pml-paper"], adaptation=False, refine="none")
CPU = torch.device("cpu")


class Changed:
    """An embedder with something else in front of it or behind it."""

    name, fingerprint, device = "changed", "", CPU

    def __init__(self, net: CompactNet, scale: int = 1, mirror: bool = False):
        self.net, self.scale, self.mirror = net.eval().to(memory_format=torch.channels_last), scale, mirror
        self.stride, self.dim = net.stride // scale, net.dim

    def to(self, device: torch.device) -> None:
        """Stay where it is: this is measured on the CPU."""

    @torch.inference_mode()
    def embed(self, frames: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Embed enlarged frames, or the mean over frames and their mirror images."""
        sides = [-(-n // self.stride) * self.net.stride for n in frames.shape[-2:]]
        frames = F.pad(
            frames,
            (0, sides[1] // self.scale - frames.shape[3], 0, sides[0] // self.scale - frames.shape[2]),
            mode="replicate",
        )
        frames = F.interpolate(frames, sides, mode="bicubic").clamp(0, 1) if self.scale > 1 else frames
        found = self.net(frames, t)
        if self.mirror:
            found = F.normalize(found + self.net(frames.flip(-1), t).flip(-1), dim=1)
        return found


def load(path: Path | None) -> CompactNet:
    """Return a trained network, by default the bundled one."""
    return CompactNet.from_file(path or bundled(CompactNet.name))[0]


def without_place(net: CompactNet) -> CompactNet:
    """Let the head see neither coordinates nor time."""
    with torch.no_grad():
        net.head.conv1.weight[:, -3:] = 0
    return net


@torch.no_grad()
def shortened(net: CompactNet, dim: int, frames: torch.Tensor) -> CompactNet:
    """Shorten the embeddings to the `dim` directions in which those of first frames differ most.

    The directions are those of the largest second moments, so that similarities change least. They become part of the
    head's last layers, which are linear but for the length, which is made 1 afterwards in any case.
    """
    embeddings = net(frames, torch.full((len(frames),), -1.0)).permute(0, 2, 3, 1).flatten(0, 2).double()
    _, vectors = torch.linalg.eigh(embeddings.T @ embeddings)
    projection = vectors[:, -dim:].T.to(frames)
    for layer in (net.head.shortcut, net.head.conv2):
        layer.weight = nn.Parameter((projection @ layer.weight[:, :, 0, 0])[:, :, None, None])
        layer.bias = nn.Parameter(projection @ layer.bias)
        layer.out_channels = dim
    net.dim = dim
    return net


def variants(args: argparse.Namespace, frames: torch.Tensor) -> Iterator[tuple[str, Callable[[], Embedder]]]:
    for path in args.trunk:
        yield f"untrained {path.stem}", lambda path=path: TrunkEmbedder(path)
    for path in args.weights:
        name = path.parent.name if path else "bundled"
        yield name, lambda path=path: Changed(load(path))
        yield f"{name}, frames enlarged 2 x (stride 4)", lambda path=path: Changed(load(path), scale=2)
        yield f"{name}, with mirror images", lambda path=path: Changed(load(path), mirror=True)
        yield f"{name}, without coordinates and time", lambda path=path: Changed(without_place(load(path)))
        for dim in (32, 16):
            yield f"{name}, D = {dim}", lambda path=path, dim=dim: Changed(shortened(load(path), dim, frames))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--trunk", type=Path, nargs="*", default=[])
    parser.add_argument("--weights", type=Path, nargs="*", default=[None], help="trained networks; the bundled one")
    parser.add_argument("--every", type=int, default=8)
    args = parser.parse_args()
    videos = [(s, open_video(s.frames[0].parent)) for s in find_sequences(args.data)]
    first = torch.cat([F.interpolate(torch.from_numpy(v.rgb(0)).permute(2, 0, 1)[None], (480, 856)) for _, v in videos])
    for name, make in variants(args, first):
        scores = []
        for sequence, video in videos:
            session = Session(video, PLAIN, embedder=make())
            session.annotate(0, sequence.mask(0), complete=True)
            pairs = [
                (session.segment(t).labels > 0, sequence.mask(t) > 0)
                for t in range(args.every, len(video) - 1, args.every)
            ]
            scores.append(np.mean([[region_similarity(*p), boundary_accuracy(*p)] for p in pairs], axis=0))
        j, f = 100 * np.mean(scores, axis=0)
        print(f"{name:52} J {j:.1f}  F {f:.1f}  J&F {(j + f) / 2:.1f}", flush=True)


if __name__ == "__main__":
    main()
