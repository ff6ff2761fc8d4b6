"""What is known of one frame, as maps that the mask head sees: strokes, references, and an earlier mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import distance_transform_edt

from napari_pml.methods.matching import NOBODY, global_matching, labels_of_cells, local_matching

WINDOW = 8
"""Radius around each cell, in cells of 8 pixels, in which the previous mask is searched."""

NEAR_CELLS = 3.0, 12.0
"""In cells of 8 pixels: a stroke's influence falls to 1/e over these distances (the head sees both)."""


@dataclass(frozen=True)
class References:
    """Cells whose label is known.

    Attributes:
        matched: (N, MATCHED) float32.
        labels: (N,) int64, places in the list of labels, 0 the background.
    """

    matched: torch.Tensor
    labels: torch.Tensor


@dataclass(frozen=True)
class PreviousMask:
    """The mask of a frame near by.

    Attributes:
        matched: (h, w, MATCHED) float32 of that frame.
        shares: (L, 2 h, 2 w) float32, share of each label in each cell of 4 pixels.
    """

    matched: torch.Tensor
    shares: torch.Tensor


class OwnAndOthers:
    """Maps that every label has, and for each label the best of all others'."""

    def __init__(self, maps: torch.Tensor, *, least: bool = False):
        """Take (C, L, ...) maps, L > 1; the best is the largest value, or the least one."""
        self.own = maps
        self._best = maps.topk(2, dim=1, largest=not least)

    def of(self, label: int) -> torch.Tensor:
        """Return the own maps of a label and the best of all others', (2 C, ...)."""
        values, labels = self._best
        others = torch.where(labels[:, 0] == label, values[:, 1], values[:, 0])
        return torch.cat([self.own[:, label], others])


@dataclass(frozen=True)
class Evidence:
    """What is known of one frame, from which each object has maps of its own.

    Attributes:
        distances: in the embedding to the references on this frame, which are its strokes, to those of other frames,
            and to the previous frame near by; 3 maps of cells of 8 pixels, 0..1, 1 where there are none.
        painted: share of each cell of 4 pixels that strokes cover.
        painted_coarse: the same for cells of 8 pixels.
        nearness: how near strokes are over a short and over a long reach; 2 maps of cells of 8 pixels.
        prior: (L, 2 h, 2 w) float32 share of each label in the prior mask, or None if there is none.
    """

    distances: OwnAndOthers
    painted: OwnAndOthers
    painted_coarse: OwnAndOthers
    nearness: OwnAndOthers
    prior: torch.Tensor | None

    def of(self, label: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the maps of one object, 1 to L - 1.

        Returns:
            (14, h, w) float32: own and rivals' distances (6), strokes in the cell (2), nearness of strokes (4), the
            prior mask, and whether there is one; and (4, 2 h, 2 w) float32: strokes (2), the prior mask, whether there
            is one.
        """
        painted = self.painted.of(label)
        if self.prior is None:
            known = torch.zeros_like(painted)
        else:
            known = torch.stack([self.prior[label], torch.ones_like(painted[0])])
        strokes, nearness = self.painted_coarse.of(label), self.nearness.of(label)
        coarse = torch.cat([self.distances.of(label), strokes, nearness, F.avg_pool2d(known, 2)])
        return coarse, torch.cat([painted, known])


def gather_evidence(
    matched: torch.Tensor,
    strokes: torch.Tensor,
    references: References,
    previous: PreviousMask | None,
    prior: torch.Tensor | None,
) -> Evidence:
    """Look at one frame's strokes, references and earlier masks through the eyes of each object.

    Args:
        matched: (h, w, MATCHED) float32 embeddings of the frame.
        strokes: (L, 2 h, 2 w) float32, share of the pixels of each cell of 4 pixels that is painted with each label.
        references: of other frames.
        previous: the mask of a frame near by, if there is one.
        prior: (L, 2 h, 2 w) float32, what is likely to be where, before strokes on this frame count: the previous mask
            itself, or where motion takes it. None if nothing is known.

    Returns:
        Evidence of the L - 1 objects, L > 1.
    """
    n_labels, (h, w, _) = len(strokes), matched.shape
    flat = matched.flatten(0, 1)
    painted = F.avg_pool2d(strokes, 2)
    cells = labels_of_cells(painted).flatten()
    here = global_matching(flat, flat[cells != NOBODY], cells[cells != NOBODY], n_labels)
    anywhere = global_matching(flat, references.matched, references.labels, n_labels)
    around = torch.ones_like(here)
    if previous is not None:
        earlier = labels_of_cells(F.avg_pool2d(previous.shares, 2))
        around = local_matching(matched, previous.matched[None], earlier[None], n_labels, WINDOW)
    distances = torch.stack([here, anywhere, around]).unflatten(2, (h, w))
    distance = distance_to_strokes(painted)
    nearness = torch.stack([torch.exp(-distance / reach) for reach in NEAR_CELLS])
    return Evidence(
        OwnAndOthers(distances, least=True),
        OwnAndOthers(strokes[None]),
        OwnAndOthers(painted[None]),
        OwnAndOthers(nearness),
        prior,
    )


def distance_to_strokes(painted: torch.Tensor) -> torch.Tensor:
    """Return how many cells each cell is from the nearest painted one, (L, h, w); inf if none has that label."""
    distances = torch.full_like(painted, torch.inf)
    for label in painted.flatten(1).any(1).nonzero()[:, 0].tolist():
        elsewhere = (painted[label] == 0).cpu().numpy()
        distances[label] = torch.from_numpy(distance_transform_edt(elsewhere).astype(np.float32))
    return distances
