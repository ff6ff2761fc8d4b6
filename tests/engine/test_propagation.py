import numpy as np
import pytest

from napari_pml.engine.propagation import chains, outward_from, way_to
from napari_pml.types import Annotations


def annotated(n_frames, strokes=(), complete=()):
    annotations = Annotations((n_frames, 2, 2))
    for t in (*strokes, *complete):
        annotations = annotations.with_frame(t, np.ones((2, 2), int), complete=t in complete)
    return annotations


CASES = {
    "first frame": ((), (0,)),
    "one stroke": ((9,), ()),
    "strokes only": ((2, 7), ()),
    "two complete": ((), (2, 7)),
    "a correction after": ((5,), (0,)),
    "corrections before and after": ((1, 9), (4,)),
    "corrections between": ((4, 6), (1, 8)),
    "next to each other": ((4,), (3, 5)),
}


@pytest.mark.parametrize("start", [0, 5, 9])
@pytest.mark.parametrize(("strokes", "complete"), CASES.values(), ids=CASES)
def test_every_frame_becomes_final_once_after_masks_came_from_both_sides(strokes, complete, start):
    annotations = annotated(10, strokes, complete)
    sources = annotations.complete or {annotations.main_frame}
    final, reached = set(sources), {}
    for chain in chains(annotations, start):
        assert chain.frames[0] in final
        for t in chain.frames:
            reached.setdefault(t, set()).add(chain.frames[0])
            if t not in chain.provisional:
                assert t not in final or t == chain.frames[0] or t in sources
                final.add(t)
    assert sorted(final) == list(range(10))
    marks = sorted(annotations.frames)
    for t in set(range(10)) - set(marks):
        neighbours = {max((m for m in marks if m < t), default=None), min((m for m in marks if m > t), default=None)}
        assert reached[t] == neighbours - {None}


def test_a_correction_is_reached_with_context_and_works_both_ways():
    found = [(list(c.frames), list(c.provisional)) for c in chains(annotated(10, strokes=(6,), complete=(0,)), 0)]
    assert found == [
        ([0, 1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5]), ([6, 5, 4, 3, 2, 1], []), ([6, 7, 8, 9], []), ([0], []),
    ]  # fmt: skip


def test_chains_in_view_come_first():
    annotations = annotated(20, complete=(2, 15))
    assert 18 in chains(annotations, 18)[0].frames
    assert 0 in chains(annotations, 0)[0].frames


def test_the_way_to_a_frame():
    found = chains(annotated(10, strokes=(6,), complete=(0,)), 0)
    assert list(way_to(4, found)) == [6, 5]
    assert list(way_to(8, found)) == [6, 7]
    assert list(way_to(6, found)) == [0, 1, 2, 3, 4, 5]
    assert list(way_to(0, found)) == []


def test_outward_visits_everything_once_by_distance():
    order = list(outward_from(2, 7))
    assert order == [2, 3, 1, 4, 0, 5, 6]
