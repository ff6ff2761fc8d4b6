"""FEELVOS: matching guides a small network that is the same for every object (Voigtlaender et al., CVPR 2019)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from napari_pml.embedding.protocol import Embedder
from napari_pml.embedding.video_embeddings import VideoEmbeddings
from napari_pml.embedding.weights import digest
from napari_pml.grid import grid_shape, pad_to_cells
from napari_pml.methods.adaptation import FinishedFrames
from napari_pml.methods.annotated import AnnotatedReferences, contradicted, looks_like
from napari_pml.methods.config import MethodConfig
from napari_pml.methods.feelvos.network import (
    STRIDE,
    FeelvosNet,
    labels_of_cells,
    load_network,
    network_beside,
    shares_of_labels,
)
from napari_pml.methods.matching import NOBODY, global_matching, local_matching
from napari_pml.methods.protocol import LearningProgress
from napari_pml.methods.references import ReferencePixels
from napari_pml.methods.transferred import TransferredReferences
from napari_pml.types import BACKGROUND, Annotations, FrameMask, Labels, Scores

PREVIOUS_FRAMES = 5
"""Maximum distance in frames at which a finished frame counts as the previous one; training shows no longer gaps."""

UNANIMOUS = 0.99
"""A cell's confidence from which on it joins the references: the softmax of the network is surer than votes are."""


@dataclass(frozen=True)
class FeelvosConfig(MethodConfig):
    """How far an object may have moved, and whether what was found is learned from."""

    method: ClassVar[str] = "feelvos"

    window: Annotated[
        int,
        {
            "min": 1,
            "max": 40,
            "label": "window (cells)",
            "tooltip": "The previous frame is searched so far around each cell of 8 pixels; more for fast objects.",
        },
    ] = 4
    adaptation: Annotated[
        bool,
        {
            "label": "online adaptation",
            "tooltip": "Pixels of finished frames that were scored with confidence become references, as in PML.",
        },
    ] = True

    def fingerprint(self, embedder: Embedder) -> str:
        """Return that of the network that was trained on the embedder, see `MethodConfig`."""
        path = network_beside(embedder.weights) if embedder.weights is not None else None
        own = digest(path) if path is not None and path.exists() else ""
        return own + super().fingerprint(embedder)

    def make(self, embeddings: VideoEmbeddings, transferred: TransferredReferences | None) -> Feelvos:
        """Return the method for one video, see `MethodConfig`.

        Raises:
            WeightsError: there is no FEELVOS network for these embeddings.
        """
        return Feelvos(embeddings, self, transferred, load_network(embeddings.embedder))


class Feelvos:
    """One network scores every label, from how near its pixels are in annotated frames and in the previous one."""

    order: Literal["any", "outward"] = "outward"
    uses_embeddings = True

    def __init__(
        self,
        embeddings: VideoEmbeddings,
        config: FeelvosConfig,
        transferred: TransferredReferences | None,
        net: FeelvosNet,
    ):
        """Match in `embeddings` and `transferred` references; `net` was trained on embeddings of the same network."""
        self.embeddings, self.config, self.transferred, self.net = embeddings, config, transferred, net
        self._ids: tuple[int, ...] = (BACKGROUND,)
        self._gather = AnnotatedReferences(embeddings)
        self._references: ReferencePixels | None = None
        self._annotations: Annotations | None = None
        self._finished = FinishedFrames(embeddings, self._ids, UNANIMOUS)

    @property
    def references(self) -> ReferencePixels | None:
        """The reference pixels of what is annotated, see `Method`."""
        return self._references

    def learn(self, annotations: Annotations) -> Iterator[LearningProgress]:
        """Gather the reference pixels of at least one frame, annotated here or transferred, in one step."""
        transferred, device = self.transferred, self.embeddings.embedder.device
        self.net.to(device)
        self._annotations = annotations
        ids = (BACKGROUND, *sorted({*annotations.object_ids, *(transferred.object_ids if transferred else ())}))
        if ids != self._ids:
            self._ids, self._finished = ids, FinishedFrames(self.embeddings, ids, UNANIMOUS)
        self._references = self._gather(
            annotations,
            self._ids,
            thin=True,
            transferred=transferred.references(self._ids, device) if transferred else None,
        )
        yield from ()

    def state(self) -> Mapping[str, NDArray[Any]]:
        """Return nothing: references are gathered at once."""
        return {}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Do nothing, since there is no state."""

    @torch.no_grad()
    def segment(self, t: int, finished: Sequence[FrameMask]) -> Scores:
        """Score the cells of frame t, see `Method.segment`."""
        if self._references is None or self._annotations is None:
            raise RuntimeError("learn() comes before segment()")
        embeddings = self.embeddings[t]
        h, w, _ = embeddings.shape
        matched, n_labels = self.net.matched(embeddings), len(self._ids)
        annotated = self._annotations.frames.keys()
        adaptation = self._finished.adaptation(finished, annotated) if self.config.adaptation else []
        pool = ReferencePixels.concatenate([self._references, *adaptation])
        pool = pool.select(~contradicted(pool, self._annotations.complete))
        references = self.net.matched(pool.embeddings)
        anywhere = global_matching(matched.flatten(0, 1), references, pool.labels[:, 0], n_labels)
        around, before = self._previous(t, embeddings, matched, finished)
        _, height, width = self.embeddings.video.shape
        rgb = torch.from_numpy(self.embeddings.video.rgb(t)).to(embeddings).permute(2, 0, 1)
        frame = pad_to_cells(rgb[None], self.embeddings.embedder.stride)[0]
        distances = torch.stack([anywhere, around], 1).unflatten(2, (h, w))
        scores = self.net(frame, embeddings.permute(2, 0, 1), distances, before).softmax(0)
        rows, columns = grid_shape(height, width, STRIDE)
        return Scores(scores[:, :rows, :columns], self._ids, STRIDE)

    def _previous(
        self, t: int, embeddings: torch.Tensor, matched: torch.Tensor, finished: Sequence[FrameMask]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what the previous mask and the strokes on this very frame say, as far as there are any.

        Strokes count as a previous mask in which all else is unknown. Where a cell looks like one, the real previous
        mask has no say about it: it is what was corrected.

        Returns:
            (L, h * w) local distances and (L, 2 h, 2 w) shares of the labels before.
        """
        h, w, _ = matched.shape
        around = matched.new_ones(len(self._ids), h * w)
        before = matched.new_zeros(len(self._ids), 2 * h, 2 * w)
        if finished and abs(finished[-1].t - t) <= PREVIOUS_FRAMES:
            previous = finished[-1]
            known = np.isin(previous.labels, self._ids)  # an object that has been deleted since is background now
            before = self._shares(np.where(known, previous.labels, BACKGROUND).astype(np.uint16))
            other = self.net.matched(self.embeddings[previous.t])
            around = local_matching(
                matched, other[None], labels_of_cells(before)[None], len(self._ids), self.config.window
            )
        assert self._annotations is not None
        if t in self._annotations.frames and t not in self._annotations.complete:
            painted = self._shares(self._annotations.frames[t])
            cells = labels_of_cells(painted).flatten()
            flat = embeddings.flatten(0, 1)
            alike = looks_like(flat, flat[cells != NOBODY])
            around = around.masked_fill(alike, 1)
            fine = F.interpolate(alike.view(1, 1, h, w).float(), scale_factor=2)[0, 0] > 0
            before = torch.where(painted.any(0), painted, before.masked_fill(fine, 0))
        return around, before

    def _shares(self, labels: Labels) -> torch.Tensor:
        """Return what the network sees of a mask."""
        return shares_of_labels(labels, self._ids).to(self.embeddings.embedder.device)
