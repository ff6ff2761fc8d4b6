"""A GPU whose memory does not suffice: the CPU goes on, the person is told, and the masks are the same."""

import pytest
import torch

from drawn_video import ColourEmbedder
from napari_pml import Session, open_video
from napari_pml.errors import DeviceError
from napari_pml.training import loop


class FullGpu:
    """A device that PyTorch knows nothing of; tensors are never on it."""

    type = "cuda"

    def __str__(self):
        return "cuda"


class Crowded(ColourEmbedder):
    """Takes `room` frames on the GPU, then its memory is full."""

    def __init__(self, room=0):
        super().__init__()
        self.device, self.room = FullGpu(), room

    def embed(self, frames, t):
        if self.device.type == "cuda":
            self.room -= 1
            if self.room < 0:
                raise torch.OutOfMemoryError("CUDA out of memory")
        return super().embed(frames, t)


@pytest.fixture
def make(drawn):
    return lambda embedder: Session(open_video(drawn[0]), embedder=embedder)


def test_segmenting_goes_on_with_the_cpu(make, drawn):
    session, alone = make(Crowded()), make(ColourEmbedder())
    for each in (session, alone):
        each.annotate(0, drawn[1][0], complete=True)
    with pytest.warns(UserWarning, match="going on with the CPU") as told:
        list(session.propagate(3))
    assert len(told) == 1
    assert session.device.type == "cpu"
    list(alone.propagate(3))
    assert (session.masks.labels[:] == alone.masks.labels[:]).all()


def test_embedding_in_advance_goes_on_with_the_cpu(make):
    session = make(Crowded())
    with pytest.warns(UserWarning, match="going on with the CPU"):
        assert list(session.prepare())[-1] == (8, 8)
    assert session.device.type == "cpu"


def test_learning_from_another_video_goes_on_with_the_cpu(make, drawn):
    session, other = make(Crowded()), make(ColourEmbedder())
    other.annotate(0, drawn[1][0], complete=True)
    with pytest.warns(UserWarning, match="going on with the CPU"):
        assert session.transfer_from(other)
    assert set(session.segment(0).labels.ravel()) == {0, 1, 2}


def test_when_nothing_has_room_it_says_so(make, drawn):
    class Nowhere(ColourEmbedder):
        def embed(self, frames, t):
            raise MemoryError("Unable to allocate 9 TiB")

    session = make(Nowhere())
    session.annotate(0, drawn[1][0], complete=False)
    with pytest.raises(DeviceError, match="Close other programs"):
        session.segment(3)


def test_training_says_what_to_do(tmp_path):
    class Large(loop.Training):
        def add_gradients(self):
            raise torch.OutOfMemoryError("CUDA out of memory")

    net = torch.nn.Linear(1, 1)
    with pytest.raises(DeviceError, match="train on the CPU"):
        next(loop.run(Large([tmp_path], loop.LoopConfig(), net, {net: 1.0}), tmp_path / "run", "toy"))
