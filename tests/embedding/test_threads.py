"""However many threads there are, embeddings and masks are the same to the bit."""

import faiss
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from drawn_video import draw_video
from napari_pml import BACKGROUND, METHODS, Session, open_video
from napari_pml.embedding.networks.details import CONTEXT, DETAIL, FrameFeatures
from napari_pml.embedding.registry import load_embedder
from napari_pml.methods.mask_head.network import N_COARSE_MAPS, N_FINE_MAPS, MaskHead

THREADS = (1, 2, 3, 4, 8)


@pytest.fixture
def with_threads():
    """Compute something with every number of threads."""
    before = torch.get_num_threads(), faiss.omp_get_max_threads()

    def compute(something):
        for n in THREADS:
            torch.set_num_threads(n)
            faiss.omp_set_num_threads(n)
            yield something()

    yield compute
    torch.set_num_threads(before[0])
    faiss.omp_set_num_threads(before[1])


def smooth(*size) -> torch.Tensor:
    """Noise as large as pictures have it."""
    noise = F.avg_pool2d(torch.rand(*size[:-2], *(n + 8 for n in size[-2:]), generator=torch.manual_seed(0)), 9, 1)
    return (noise - noise.min()) / (noise.max() - noise.min())


@pytest.mark.parametrize("size", [(9, 17), (100, 130), (240, 320), (333, 501)])
def test_embeddings(size, with_threads):
    embedder, frame = load_embedder("compact", torch.device("cpu")), smooth(1, 3, *size)
    first, *others = with_threads(lambda: embedder.embed(frame, torch.zeros(1)))
    assert all(torch.equal(first, other) for other in others)


def test_mask_head(with_threads):
    torch.manual_seed(0)
    net = MaskHead(64).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    maps = (smooth(n, scale * 30, scale * 41) for n, scale in ((64, 1), (CONTEXT, 1), (DETAIL, 2)))
    features = FrameFeatures(*maps)
    coarse, fine = smooth(2, N_COARSE_MAPS, 30, 41), smooth(2, N_FINE_MAPS, 60, 82)
    with torch.no_grad():
        first, *others = with_threads(lambda: net(features, coarse, fine))
    assert all(torch.equal(first, other) for other in others)


@pytest.mark.parametrize("method", ["pml", "pml-paper", "feelvos"])
def test_masks(method, with_threads):
    """OSVOS alone is left out: it learns, and gradients are sums in the order in which threads end."""
    frames, masks = draw_video(4)
    frames[..., 0] ^= np.random.default_rng(0).integers(0, 99, frames.shape[:3], np.uint8)

    def segment():
        session = Session(open_video(frames), METHODS[method], device="cpu")
        strokes = np.where(np.arange(128) % 9 < 2, np.where(masks[0] == 0, BACKGROUND, masks[0]), 0)
        session.annotate(0, strokes)
        session.annotate(3, masks[3], complete=True)
        list(session.propagate())
        return [session.masks[t] for t in range(4)]

    first, *others = with_threads(segment)
    assert len({mask.digest for mask in first}) == 4
    for other in others:
        assert [mask.digest for mask in other] == [mask.digest for mask in first]
