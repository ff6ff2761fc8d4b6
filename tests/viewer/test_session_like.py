"""What the viewer needs of a session is what the real one and the stand-in offer."""

import inspect

import numpy as np
import pytest

from drawn_video import ColourEmbedder
from napari_pml import Session, open_video
from napari_pml.viewer.document.session import SessionLike
from stand_ins import FakeSession, FakeVideo

FRAMES = np.zeros((2, 16, 16), np.uint8)
MEMBERS = {name for name in {*vars(SessionLike), *SessionLike.__annotations__} if not name.startswith("_")}


@pytest.mark.parametrize(
    "session", [Session(open_video(FRAMES), embedder=ColourEmbedder()), FakeSession(FakeVideo(FRAMES))], ids=type
)
def test_a_session_offers_what_the_viewer_needs(session):
    assert len(MEMBERS) > 15
    assert not {name for name in MEMBERS if not hasattr(session, name)}
    for name in MEMBERS:
        wanted = getattr(SessionLike, name, None)
        if inspect.isfunction(wanted):
            inspect.signature(getattr(session, name)).bind(*_arguments(wanted))


def _arguments(method):
    """An argument for every parameter that has no default."""
    parameters = list(inspect.signature(method).parameters.values())[1:]
    return [None for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
