"""OSVOS in a real window: chosen in the form, stopped while it learns, gone on with, corrected."""

from qtpy.QtCore import Qt
from test_window import PATIENCE_MS, drag, idle, iou, open_panel  # noqa: F401 (a fixture)


def test_the_journey_of_osvos(open_panel, drawn, qtbot):  # noqa: F811 (the fixture)
    frames, masks = drawn[0][:4], drawn[1][:4]
    viewer, panel = open_panel(frames, rgb=True)
    work = panel.controller.jobs
    panel.settings.expand(animate=False)
    panel.settings._method.value = "osvos"
    panel.settings._fields["steps"].value = 200  # a quarter of which are for strokes
    panel.settings._fields["learning_rate"].value = 3e-4

    panel.objects.select(1)
    drag(viewer, (48, 24), (60, 32), (72, 36))
    panel.objects.background.click()
    drag(viewer, (8, 8), (10, 60), (80, 70), (90, 120))
    qtbot.wait_until(lambda: "clip masks" in viewer.layers and idle(panel), timeout=PATIENCE_MS)

    panel.objects.select(1)
    drag(viewer, (60, 20), (60, 40))
    qtbot.mouseClick(panel.propagate, Qt.MouseButton.LeftButton)
    qtbot.wait_until(lambda: work.learning is not None and work.learning.done > 3, timeout=PATIENCE_MS)
    assert "learning, step" in panel.progress_text.text()
    qtbot.mouseClick(panel.propagate, Qt.MouseButton.LeftButton)
    qtbot.wait_until(lambda: idle(panel), timeout=PATIENCE_MS)
    session = panel.controller.document.session
    assert session.stale_frames() == [0, 1, 2, 3]
    assert session.embedder.name == "compact"

    qtbot.mouseClick(panel.propagate, Qt.MouseButton.LeftButton)
    qtbot.wait_until(lambda: work.learning is not None, timeout=PATIENCE_MS)
    assert work.learning.done > 4  # it goes on where it was stopped
    qtbot.wait_until(lambda: idle(panel) and not work.propagating, timeout=PATIENCE_MS)
    assert session.stale_frames() == []
    assert iou(viewer, 2, masks[2] == 1) > 0.5

    drag(viewer, (20, 100), (24, 104))  # a correction
    qtbot.wait_until(lambda: session.annotations.frames[0][22, 102] == 1 and idle(panel), timeout=PATIENCE_MS)
    assert viewer.layers["clip masks"].data[0][22, 102] == 1
