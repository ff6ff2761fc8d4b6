"""OSVOS: a network that knows objects learns from annotated frames which is meant (Caelles et al., CVPR 2017)."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from napari_pml.embedding.networks.side_network import OBJECT, SideNetwork, reduced, reduction
from napari_pml.embedding.protocol import Embedder
from napari_pml.embedding.video_embeddings import VideoEmbeddings
from napari_pml.embedding.weights import bundled, digest
from napari_pml.errors import AnnotationError, SettingsError
from napari_pml.grid import grid_shape
from napari_pml.methods.annotated import AnnotatedReferences
from napari_pml.methods.config import MethodConfig
from napari_pml.methods.osvos.fine_tuning import FineTuning
from napari_pml.methods.protocol import LearningProgress
from napari_pml.methods.references import ReferenceSource, explicit_background
from napari_pml.methods.transferred import TransferredReferences
from napari_pml.types import BACKGROUND, UNLABELLED, Annotations, FrameMask, Labels, Scores

SHORT_SIDE = 240
"""Of a frame as the network sees it, about, in pixels."""

FURTHER = 0.25
"""Share of the steps that everything annotated beside the first frame takes together."""

KEPT = 4
"""Number of learned networks that are kept, the latest ones: an undone annotation need not be learned again."""


@dataclass(frozen=True)
class OsvosConfig(MethodConfig):
    """How the network learns what is annotated."""

    method: ClassVar[str] = "osvos"

    steps: Annotated[
        int,
        {
            "min": 0,
            "max": 2000,
            "label": "learning (steps)",
            "tooltip": "Maximum number for the first annotated frame, a quarter for all that is added; 0: segment "
            "what stands out, without learning.",
        },
    ] = 200
    learning_rate: Annotated[
        float,
        {
            "min": 1e-6,
            "max": 1e-2,
            "step": 1e-5,
            "label": "learning rate",
            "tooltip": "More learns faster, but forgets what objects are.",
        },
    ] = 1e-4

    def fingerprint(self, embedder: Embedder) -> str:
        """Return that of the parent network, which knows contours too, see `MethodConfig`."""
        return digest(parent_weights(embedder))

    def make(self, embeddings: VideoEmbeddings, transferred: TransferredReferences | None) -> Osvos:
        """Return the method for one video, see `MethodConfig`."""
        return Osvos(embeddings, self, transferred)


def parent_weights(embedder: Embedder) -> Path:
    """Return where the parent network lies: beside the weights of the embedder, or in the package."""
    beside = embedder.weights.with_name(f"{SideNetwork.name}.safetensors") if embedder.weights else None
    return beside if beside is not None and beside.exists() else bundled(SideNetwork.name)


class Osvos:
    """One network for one video: fine-tuned on the annotated frames, it segments every other frame for itself.

    What is learned depends on annotations and settings alone, not on the order in which things were painted or taken
    away. The network learns the earliest complete frame first; from there it learns all that is annotated together, in
    fewer steps. So a further frame or stroke does not begin anew, and what a network learned from an annotation that
    was taken away is gone. Where no frame is complete, the network learns all strokes from the parent, in as few steps.
    Results on a GPU differ in the last digits from those on a CPU.
    """

    order: Literal["any", "outward"] = "any"
    uses_embeddings = False

    def __init__(self, embeddings: VideoEmbeddings, config: OsvosConfig, transferred: TransferredReferences | None):
        """Segment the video of `embeddings`; these are computed for frames with strokes only."""
        self.embeddings, self.video, self.config, self.transferred = embeddings, embeddings.video, config, transferred
        self._reduction = reduction(*self.video.shape[1:], SHORT_SIDE)
        self._gather = AnnotatedReferences(embeddings)
        self._parent, self._fingerprint = SideNetwork.from_file(parent_weights(embeddings.embedder))
        self._learned: dict[str, NDArray[np.float32]] = {}
        self._running: tuple[str, torch.device, FineTuning] | None = None  # what is not finished yet
        self._net: SideNetwork | None = None
        self._ids: tuple[int, ...] = ()

    @property
    def _device(self) -> torch.device:
        return self.embeddings.embedder.device

    @property
    def references(self) -> None:
        """There are none, see `Method`."""

    def state(self) -> Mapping[str, NDArray[Any]]:
        """Return the parameters of the last learned networks, (P,) float32 each, by what they were learned from."""
        return dict(self._learned)

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `state` gave; what was learned from something else than what is annotated does no harm."""
        self._learned = dict(state)

    def learn(self, annotations: Annotations) -> Iterator[LearningProgress]:
        """Fine-tune on what is annotated, see the class.

        Raises:
            AnnotationError: nothing is annotated on this video.
            SettingsError: there are no steps, but several objects, or there are references of other videos.
        """
        if self.transferred is not None:
            raise SettingsError(
                "OSVOS cannot learn from other videos. Choose the method pml, or go on without what was learned there."
            )
        if not annotations.frames:
            raise AnnotationError("Nothing is annotated yet. Paint at least one stroke on an object.")
        self._net, self._ids = None, annotations.object_ids
        if not self._ids:
            return
        if len(self._ids) > 1 and not self.config.steps:
            raise SettingsError(
                f"Without learning, OSVOS segments one object, but {len(self._ids)} are annotated. "
                "Set the steps to 1 or more, such as 200."
            )
        net = self._parent.with_outputs([OBJECT] * len(self._ids))
        if self.config.steps:
            labels = self._labels(annotations)
            first = min(annotations.complete, default=None)
            known = () if first is None else tuple(i for i in self._ids if (labels[first] == i).any())
            further = 0 if known and len(labels) == 1 else max(1, round(FURTHER * self.config.steps))
            before, basis = 0, ""
            if first is not None and known:
                only, before = {first: labels[first]}, self.config.steps
                learned = self._parent.with_outputs([OBJECT] * len(known))
                basis = yield from self._fine_tuned(learned, known, only, "", before, 0, further)
                self._take_over(net, learned, known)
            if further:
                yield from self._fine_tuned(net, self._ids, labels, basis, further, before, 0)
        self._net = net.eval()

    def segment(self, t: int, finished: Sequence[FrameMask]) -> Scores:
        """Score the cells of frame t, see `Method.segment`; other frames play no part."""
        stride = SideNetwork.stride * self._reduction
        h, w = grid_shape(*self.video.shape[1:], stride)
        if not self._ids:  # only background is annotated
            return Scores(torch.ones(1, h, w, device=self._device), (BACKGROUND,), stride)
        if self._net is None:
            raise RuntimeError("learn() comes before segment()")
        with torch.inference_mode():
            frame = reduced(self.video.rgb(t), self._reduction).to(self._device)
            logits = self._net.to(self._device)(frame[None])[0, :, :h, :w]
            values = torch.cat([torch.zeros_like(logits[:1]), logits]).softmax(0)
        return Scores(values, (BACKGROUND, *self._ids), stride)

    def _fine_tuned(
        self,
        net: SideNetwork,
        ids: tuple[int, ...],
        labels: Mapping[int, Labels],
        basis: str,
        steps: int,
        before: int,
        later: int,
    ) -> Generator[LearningProgress, None, str]:
        """Fine-tune a network in place, or take over what it became when it was done before.

        Args:
            net: with an output for each object.
            ids: of these objects.
            labels: frame number -> (H, W) annotation in which background is explicit.
            basis: what was learned before, as this function returned it.
            steps: maximum number.
            before: steps taken before, to be reported.
            later: steps to come.

        Returns:
            What the result depends on, as 16 characters.
        """
        key, device = self._key(ids, labels, basis, steps), self._device
        size = sum(parameter.numel() for parameter in net.parameters())
        if key not in self._learned or self._learned[key].shape != (size,):  # from a damaged project
            if self._running is None or self._running[:2] != (key, device):
                frames = [(reduced(self.video.rgb(t), self._reduction), a) for t, a in labels.items()]
                start = copy.deepcopy(net).to(device)
                tuning = FineTuning(start, ids, frames, self._reduction, steps, self.config.learning_rate)
                self._running = key, device, tuning
            tuning = self._running[-1]
            for loss in tuning:
                yield LearningProgress(before + tuning.done, before + steps + later, loss)
            self._learned[key] = parameters_to_vector(tuning.net.parameters()).detach().cpu().numpy()
            self._running = None
        self._learned[key] = self._learned.pop(key)  # the last one used is the last to go
        for old in [*self._learned][:-KEPT]:
            del self._learned[old]
        vector_to_parameters(torch.from_numpy(self._learned[key]).float(), net.parameters())
        return key

    def _take_over(self, net: SideNetwork, learned: SideNetwork, ids: tuple[int, ...]) -> None:
        """Give `net`, of all objects, the parameters of one of these objects only; other outputs stay as they are."""
        rows = [self._ids.index(i) for i in ids]
        target = net.state_dict()
        for name, value in learned.state_dict().items():
            target[name][rows if name.startswith("fuse.") else ...] = value

    def _key(self, ids: tuple[int, ...], labels: Mapping[int, Labels], basis: str, steps: int) -> str:
        """Return 16 characters that differ where what is learned does."""
        config = self.config
        found = hashlib.sha256(f"{self._fingerprint} {config.learning_rate} {steps} {ids} {basis}".encode())
        for t, annotation in labels.items():
            found.update(f"{t}".encode())
            found.update(np.ascontiguousarray(annotation).tobytes())
        return found.hexdigest()[:16]

    def _labels(self, annotations: Annotations) -> dict[int, Labels]:
        """Return every annotated frame with its background: given, painted, or implied by strokes as in PML."""
        labels = {t: explicit_background(annotations, t) for t in annotations.frames}
        partly = annotations.frames.keys() - annotations.complete
        if partly:
            references = self._gather(annotations, (BACKGROUND, *annotations.object_ids), thin=True)
            implied = references.select(references.kinds == ReferenceSource.IMPLIED)
            stride = self.embeddings.embedder.stride
            for t in partly:
                is_background = np.zeros(self.embeddings.grid, bool)
                is_background.ravel()[implied.cells[implied.frames == t].cpu().numpy()] = True
                height, width = labels[t].shape
                pixels = is_background.repeat(stride, 0).repeat(stride, 1)[:height, :width]
                labels[t] = np.where(pixels & (labels[t] == UNLABELLED), np.uint16(BACKGROUND), labels[t])
        return labels
