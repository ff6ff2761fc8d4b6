"""Any order of what a person can do ends in the masks of a fresh session with the same annotations and settings."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from drawn_video import ColourEmbedder, draw_video
from napari_pml import BACKGROUND, METHODS, Session, open_video
from napari_pml.errors import AnnotationError
from napari_pml.methods.osvos.osvos import OsvosConfig
from napari_pml.store.project import Project

pytestmark = pytest.mark.slow

N, HEIGHT, WIDTH = 5, 32, 40
FRAMES, MASKS = draw_video(N, HEIGHT, WIDTH)
FRAME = st.integers(0, N - 1)
EMPTY = np.zeros((HEIGHT, WIDTH), np.uint16)

SETTINGS = {
    "pml": [METHODS["pml"], METHODS["pml-paper"], replace(METHODS["pml"], window=2, context_frames=1, refine="none")],
    "feelvos": [METHODS["feelvos"], replace(METHODS["feelvos"], adaptation=False)],
    "osvos": [OsvosConfig(steps=2, refine="none"), OsvosConfig(steps=1, refine="none")],
}
RUNS = {"pml": (40, 20), "feelvos": (8, 10), "osvos": (6, 8)}
"""How many machines, and how many steps of each."""


class Work(RuleBasedStateMachine):
    """A person at work. What counts is noted beside, without the session's help."""

    configs = SETTINGS["pml"]
    weights = None

    def fresh(self, config, **options) -> Session:
        return Session(open_video(FRAMES), config, embedder=ColourEmbedder(self.weights), **options)

    @initialize(room=st.sampled_from([1, 2**30]))
    def begin(self, room):
        """With embeddings that are let go of at once, or kept."""
        self.session = self.fresh(self.configs[0], embedding_bytes=room)
        self.annotated: dict[int, tuple[np.ndarray, bool]] = {}
        self.earlier: list[tuple[int, np.ndarray, bool]] = []
        self.running = None

    def give(self, t, labels, complete):
        self.earlier.append((t, *self.annotated.get(t, (EMPTY, False))))
        self.session.annotate(t, labels, complete=complete)
        if labels.any() or complete:
            self.annotated[t] = labels.copy(), complete
        else:
            self.annotated.pop(t, None)

    @rule(
        t=FRAME, y=st.integers(0, HEIGHT - 1), x=st.integers(0, WIDTH - 1), label=st.sampled_from([1, 2, 9, BACKGROUND])
    )
    def paint(self, t, y, x, label):
        """A stroke over what is there."""
        labels, complete = self.annotated.get(t, (EMPTY, False))
        labels = labels.copy()
        labels[y : y + 2, x : x + 7] = label
        self.give(t, labels, complete)

    @rule(t=FRAME, label=st.sampled_from([0, 1]))
    def give_a_whole_mask(self, t, label):
        self.give(t, np.where(MASKS[t] > 0, MASKS[t], np.uint16(label)), True)

    @precondition(lambda self: self.annotated)
    @rule(data=st.data())
    def erase(self, data):
        self.give(data.draw(st.sampled_from(sorted(self.annotated))), EMPTY, False)

    @precondition(lambda self: self.annotated)
    @rule(data=st.data())
    def say_or_deny_that_a_frame_is_complete(self, data):
        t = data.draw(st.sampled_from(sorted(self.annotated)))
        labels, complete = self.annotated[t]
        self.give(t, labels, not complete)

    @precondition(lambda self: self.earlier)
    @rule()
    def undo(self):
        self.give(*self.earlier.pop())
        self.earlier.pop()

    @rule(data=st.data())
    def change_settings(self, data):
        self.session.config = data.draw(st.sampled_from(self.configs))

    @rule(t=FRAME)
    def look(self, t):
        if self.annotated:
            self.session.segment(t)
        else:
            with pytest.raises(AnnotationError):
                self.session.segment(t)

    @precondition(lambda self: self.annotated)
    @rule(start=FRAME, n=st.integers(1, 6))
    def propagate_for_a_while(self, start, n):
        running = self.session.propagate(start)
        for _ in range(n):
            next(running, None)
        self.running = running

    @precondition(lambda self: self.running)
    @rule(n=st.integers(0, 3))
    def go_on_with_an_old_propagation(self, n):
        for _ in range(n):
            next(self.running, None)

    @invariant()
    def what_is_painted_is_in_every_valid_mask(self):
        assert self.session.annotations.frames.keys() == self.annotated.keys()
        for t, (labels, complete) in self.annotated.items():
            np.testing.assert_array_equal(self.session.annotations.frames[t], labels)
            if t not in self.session.stale_frames():
                mask, painted = self.session.masks[t].labels, labels > 0
                np.testing.assert_array_equal(mask[painted], np.where(labels == BACKGROUND, 0, labels)[painted])
                assert not (complete and mask[~painted].any())

    def teardown(self):
        if not getattr(self, "annotated", None):
            return
        list(self.session.propagate(2))
        assert self.session.stale_frames() == []
        self.what_is_painted_is_in_every_valid_mask()
        straight = self.fresh(self.session.config)
        for t, (labels, complete) in sorted(self.annotated.items(), reverse=True):
            straight.annotate(t, labels, complete=complete)
        list(straight.propagate())
        for t in range(N):
            np.testing.assert_array_equal(self.session.masks[t].labels, straight.masks[t].labels)
            np.testing.assert_array_equal(self.session.masks[t].confidence, straight.masks[t].confidence)


@pytest.mark.parametrize("method", SETTINGS)
def test_any_order_of_work(method, colour_weights):
    class WorkWithMethod(Work):
        configs, weights = SETTINGS[method], colour_weights

    n, steps = RUNS[method]
    run_state_machine_as_test(WorkWithMethod, settings=settings(max_examples=n, stateful_step_count=steps))


def test_any_order_of_work_in_a_project(tmp_path_factory):
    """The same, but the window is closed and opened again at any time."""

    class WorkInProject(Work):
        @initialize(room=st.sampled_from([1, 2**30]))
        def begin(self, room):
            super().begin(room)
            path = tmp_path_factory.mktemp("machine") / "p.pml.zarr"
            self.session.keep_in(Project.create(path, self.session.video))

        @rule()
        def close_and_open_again(self):
            project = self.session.project
            project.close()
            valid = [t for t in range(N) if t not in self.session.stale_frames()]
            self.session = self.fresh(None, project=Project.open(project.path))
            assert [t for t in range(N) if t not in self.session.stale_frames()] == valid

        def teardown(self):
            if self.annotated:
                list(self.session.propagate())
                self.close_and_open_again()  # so that masks come from the disk
            super().teardown()
            self.session.project.close()

    run_state_machine_as_test(WorkInProject, settings=settings(max_examples=8, stateful_step_count=12))
