"""PML: segmentation as retrieval in the embedding space (Chen et al., CVPR 2018)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from napari_pml.embedding.protocol import DetailedEmbedder, Embedder
from napari_pml.embedding.video_embeddings import VideoEmbeddings
from napari_pml.embedding.weights import digest
from napari_pml.methods.adaptation import FinishedFrames
from napari_pml.methods.annotated import AnnotatedReferences, looks_like
from napari_pml.methods.config import MethodConfig
from napari_pml.methods.mask_head.network import load_mask_head
from napari_pml.methods.mask_head.segmentation import MaskHeadPml
from napari_pml.methods.neighbours import balanced_vote, nearest_in_window, vote
from napari_pml.methods.pml.compaction import Compaction
from napari_pml.methods.protocol import LearningProgress, Method
from napari_pml.methods.references import ReferencePixels, ReferenceSource
from napari_pml.methods.retrieval import Retrieval, nearest_of
from napari_pml.methods.transferred import TransferredReferences
from napari_pml.methods.windows import tiles_with_a_choice
from napari_pml.types import BACKGROUND, Annotations, FrameMask, Scores

ASSUMED = 0.8
"""Share of the votes for background where no neighbours were looked for; that it is less than 1 keeps such cells, on
which nobody has agreed, out of online adaptation."""

UNANIMOUS = 0.95
"""A cell's confidence from which on its neighbours count as agreed: soft and balanced votes are never quite one."""


@dataclass(frozen=True)
class PmlConfig(MethodConfig):
    """How neighbours are found and what their votes count. `METHODS` holds the paper's settings and our own."""

    method: ClassVar[str] = "pml"

    k: Annotated[
        int, {"min": 1, "max": 50, "label": "nearest", "tooltip": "Number of nearest references that vote."}
    ] = 5
    k_strokes: Annotated[
        int,
        {
            "min": 1,
            "max": 50,
            "label": "nearest (strokes)",
            "tooltip": "The same, as long as no frame is complete (the paper: 5 for masks, 1 for clicks).",
        },
    ] = 1
    votes: Annotated[
        Literal["balanced", "soft", "hard"],
        {
            "tooltip": "balanced: each label's own nearest neighbours speak for it (context votes softly); "
            "soft: nearer neighbours count more, borders count for both sides; hard: one neighbour, one vote."
        },
    ] = "hard"
    votes_strokes: Annotated[
        Literal["balanced", "soft", "hard"],
        {"label": "votes (strokes)", "tooltip": "The same as long as no frame is complete (the paper: hard)."},
    ] = "balanced"
    temperature: Annotated[
        float,
        {
            "min": 0.005,
            "max": 1.0,
            "step": 0.005,
            "tooltip": "Of votes that are not hard: the smaller, the more the very nearest decide.",
        },
    ] = 0.05
    context_frames: Annotated[
        int,
        {
            "min": 0,
            "max": 10,
            "label": "context (frames)",
            "tooltip": "Number of finished frames that are references too; together they have half of the votes.",
        },
    ] = 3
    window: Annotated[
        int,
        {
            "min": 1,
            "max": 40,
            "label": "window (cells)",
            "tooltip": "Context is searched so far around each cell of 8 pixels; more for fast objects.",
        },
    ] = 12
    adaptation: Annotated[
        bool,
        {
            "label": "online adaptation",
            "tooltip": "Pixels of finished frames on which all neighbours agreed become references (PML section 3.2).",
        },
    ] = True

    mask_head: Annotated[
        bool,
        {
            "label": "mask head",
            "tooltip": "A small network, guided by the nearest references, draws the masks, if there is one for the "
            "embedder; otherwise the votes below decide, as in the paper.",
        },
    ] = True

    def fingerprint(self, embedder: Embedder) -> str:
        """Return that of the mask head, if there is one, see `MethodConfig`."""
        head = digest(embedder.head) if self.mask_head and isinstance(embedder, DetailedEmbedder) else ""
        return head + super().fingerprint(embedder)

    def make(self, embeddings: VideoEmbeddings, transferred: TransferredReferences | None) -> Method:
        """Return the method for one video, see `MethodConfig`."""
        embedder = embeddings.embedder
        if self.mask_head and isinstance(embedder, DetailedEmbedder):
            return MaskHeadPml(embeddings, transferred, load_mask_head(embedder))
        return Pml(embeddings, self, transferred)


class Pml:
    """Every cell takes the label of its nearest reference pixels, whatever the number of objects."""

    uses_embeddings = True

    def __init__(self, embeddings: VideoEmbeddings, config: PmlConfig, transferred: TransferredReferences | None):
        """Retrieve in `embeddings` as `config` says, from what is annotated and from `transferred` references."""
        self.embeddings, self.config, self.transferred = embeddings, config, transferred
        self.order: Literal["any", "outward"] = "outward" if config.context_frames or config.adaptation else "any"
        self._gather = AnnotatedReferences(embeddings)
        self._ids: tuple[int, ...] = (BACKGROUND,)
        self._references: ReferencePixels | None = None
        self._annotated: Collection[int] = ()
        self._votes = config.votes
        self._begin(config.k)
        self._finished = FinishedFrames(embeddings, self._ids, UNANIMOUS, config.context_frames)
        self._context: tuple[Any, ...] = ()  # what the last call of `_context_votes` was about, and its result

    @property
    def references(self) -> ReferencePixels | None:
        """The reference pixels of what is annotated, see `Method`."""
        return self._references

    def learn(self, annotations: Annotations) -> Iterator[LearningProgress]:
        """Gather the reference pixels of at least one frame, annotated here or transferred, see `Method`."""
        transferred = self.transferred
        ids = (BACKGROUND, *sorted({*annotations.object_ids, *(transferred.object_ids if transferred else ())}))
        if ids != self._ids:
            self._finished = FinishedFrames(self.embeddings, ids, UNANIMOUS, self.config.context_frames)
        self._ids = ids
        self._annotated = annotations.frames.keys()
        config = self.config
        complete = annotations.complete or (transferred is not None and transferred.has_complete_frames)
        k, self._votes = (config.k, config.votes) if complete else (config.k_strokes, config.votes_strokes)
        if k != self._annotated_pool.k:
            self._begin(k)
        references = self._gather(
            annotations,
            ids,
            thin=self._votes != "hard",
            transferred=transferred.references(ids, self.embeddings.embedder.device) if transferred else None,
        )
        self._references = yield from self._compact(references)

    def state(self) -> Mapping[str, NDArray[Any]]:
        """Return nothing: references are gathered at once."""
        return {}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Do nothing, since there is no state."""

    def _begin(self, k: int) -> None:
        """Forget what frames have found."""
        self._annotated_pool, self._adaptation_pool = Retrieval(k), Retrieval(k, max_bytes=16 * 1024**2)
        self._compact = Compaction(k)

    def segment(self, t: int, finished: Sequence[FrameMask]) -> Scores:
        """Score the cells of frame t by retrieval, see `Method.segment`."""
        if self._references is None:
            raise RuntimeError("learn() comes before segment()")
        queries = self.embeddings[t]
        cells = queries.flatten(0, 1)
        adaptation = self._finished.adaptation(finished, self._annotated) if self.config.adaptation else []
        strokes = self._references.select(
            (self._references.frames == t) & (self._references.kinds == ReferenceSource.PAINTED)
        )
        if not (self.config.context_frames and finished):
            everywhere = torch.ones(len(cells), dtype=torch.bool, device=cells.device)
            votes = self._annotated_votes(t, cells, self._references, adaptation, everywhere)
            return self._scores(votes, queries)

        context, shown, empty = self._context_votes(t, queries, finished)
        # Where context shows nothing but background all around, annotations cannot outvote it, and need not be asked if
        # a complete frame has shown all of the background; unless an object is not to be seen in the context at all,
        # which may come back anywhere, or a person has painted on this very frame.
        known = self._votes == "hard" and shown.all() and not len(strokes)
        wanted = ~empty if known else torch.ones_like(empty)
        votes = ASSUMED * context
        votes[:, wanted] = self._annotated_votes(t, cells, self._references, adaptation, wanted)
        returning = votes * ~shown[:, None]
        context = context * (1 - returning.sum(0)) + returning
        if len(strokes):  # context has no say about what was corrected on this very frame
            context = torch.where(looks_like(cells, strokes.embeddings), votes, context)
        return self._scores((votes + context) / 2, queries)

    def _scores(self, votes: torch.Tensor, queries: torch.Tensor) -> Scores:
        return Scores(votes.view(-1, *queries.shape[:2]), self._ids, self.embeddings.embedder.stride)

    def _annotated_votes(
        self,
        t: int,
        cells: torch.Tensor,
        annotated: ReferencePixels,
        adaptation: Sequence[ReferencePixels],
        wanted: torch.Tensor,
    ) -> torch.Tensor:
        """Return the votes of references anywhere, (L, n), for the n `wanted` of (h * w,) cells."""
        pool = ReferencePixels.concatenate([annotated, *adaptation]).sorted() if adaptation else annotated
        k = self._annotated_pool.k
        if self._votes == "balanced":
            # A further component, 1 in every query, takes each reference's penalty off its similarity.
            queries = F.pad(cells[wanted], (0, 1), value=1.0)
            references = torch.cat([pool.embeddings, -pool.similarity_penalty[:, None]], 1)
            return balanced_vote(queries, references, pool.labels[:, 0], len(self._ids), k, self.config.temperature)
        found = self._annotated_pool(t, cells, annotated, wanted)[wanted]
        if adaptation:
            more = self._adaptation_pool(t, cells, ReferencePixels.concatenate(adaptation).sorted(), wanted)
            found = nearest_of([found, more[wanted]], k)
        # A label with fewer than k references could never win; it has as many votes as if it had k.
        numbers = torch.bincount(pool.labels[:, 0], minlength=len(self._ids)).clamp(1, k)
        return self._vote(found.similarities, *pool.at(torch.searchsorted(pool.keys, found.keys)), k / numbers)

    def _vote(
        self,
        similarities: torch.Tensor,
        labels: torch.Tensor,
        shares: torch.Tensor,
        weights_of_labels: torch.Tensor | None = None,
    ) -> torch.Tensor:
        temperature = None if self._votes == "hard" else self.config.temperature
        return vote(similarities, labels, shares, len(self._ids), temperature, weights_of_labels)

    def _context_votes(
        self, t: int, queries: torch.Tensor, finished: Sequence[FrameMask]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Let the last finished frames vote, each cell searching its surroundings there.

        Returns:
            (L, h * w) votes; (L,) bool, which labels these frames show, the background always counted as shown;
            (h * w,) bool, in which cells' surroundings they show nothing but background.
        """
        masks = [finished[i] for i in range(max(0, len(finished) - self.config.context_frames), len(finished))]
        found = t, masks, self._ids, self._votes
        if self._context[:-1] != found:  # the same again, as long as strokes are added to one frame
            self._context = *found, self._votes_of_masks(queries, masks)
        result: tuple[torch.Tensor, torch.Tensor, torch.Tensor] = self._context[-1]
        return result

    def _votes_of_masks(
        self, queries: torch.Tensor, masks: Sequence[FrameMask]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        context = ReferencePixels.concatenate([self._finished.cells(mask) for mask in masks])
        shape = len(masks), *queries.shape[:2]
        pure = torch.where(context.shares[:, 1] == 0, context.labels[:, 0], -1).view(shape)
        tiles = tiles_with_a_choice(pure, self.config.window)
        cells, similarities, index = nearest_in_window(
            queries, context.embeddings.view(*shape, -1), self.config.k, self.config.window, tiles
        )
        votes = F.one_hot(pure[-1].flatten().clamp_min(0), len(self._ids)).float().T.contiguous()
        votes[:, cells] = self._vote(similarities, *context.at(index))
        shown = torch.zeros(len(self._ids), dtype=torch.bool, device=votes.device)
        shown[context.labels[:, 0]] = True
        shown[0] = True
        empty = (votes[0] == 1).index_fill(0, cells, False)
        return votes, shown, empty
