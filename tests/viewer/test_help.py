"""Nobody is left alone: what to do first, the tutorial one click away, and a tooltip on everything that can be used."""

import re
from pathlib import Path

import numpy as np
import pytest
from npe2 import PluginManifest
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QLabel,
    QLineEdit,
    QScrollArea,
    QScrollBar,
    QWidget,
)
from superqt import QCollapsible

import napari_pml
from napari_pml.viewer.panel import help as help_module
from napari_pml.viewer.panel.help import TUTORIAL
from napari_pml.viewer.panel.hints import hint

ROOT = Path(__file__).parents[2]
NAPARIS_OWN = {"File", "Open Sample", "Plugins", "Preferences"}
USABLE = QAbstractButton, QComboBox, QLineEdit, QAbstractSpinBox, QAbstractSlider, QAbstractItemView


@pytest.fixture
def remembered(plugin_pages):
    return plugin_pages.help


@pytest.fixture
def opened(monkeypatch):
    """The addresses that the browser is asked for."""
    addresses = []
    monkeypatch.setattr(help_module.QDesktopServices, "openUrl", lambda url: addresses.append(url.toString()))
    return addresses


def open_panel(viewer):
    return viewer.window.add_plugin_dock_widget("napari-pml")[1]


def explained(widget: QWidget, panel: QWidget) -> bool:
    """Whether something is said when the mouse rests on a widget; Qt asks its parents if it says nothing itself."""
    while widget is not panel:
        if widget.toolTip():
            return True
        widget = widget.parentWidget()
    return False


@pytest.mark.parametrize("method", ["pml", "feelvos", "osvos"])
def test_everything_that_can_be_used_has_a_tooltip(make_napari_viewer, fake_engine, movie, method):
    viewer = make_napari_viewer()
    viewer.add_image(movie, name="clip")
    panel = open_panel(viewer)
    for part in panel.findChildren(QCollapsible):
        part.expand(animate=False)
    panel.settings.show_config(napari_pml.METHODS[method])
    usable = [w for w in panel.findChildren(QWidget) if isinstance(w, USABLE) and not isinstance(w, QScrollBar)]
    assert len(usable) > 40
    usable.remove(panel.restore)  # it says what it would restore, once there is something
    silent = [w for w in usable if not explained(w, panel)]
    assert not silent, [(type(w).__name__, getattr(w, "text", str)()) for w in silent]


@pytest.mark.parametrize("method", napari_pml.METHODS)
def test_nothing_is_cut_off_in_a_narrow_panel(make_napari_viewer, movie, method):
    viewer = make_napari_viewer()
    viewer.add_image(movie, name="clip")
    panel = open_panel(viewer)
    for part in panel.findChildren(QCollapsible):
        part.expand(animate=False)
    panel.settings.show_config(napari_pml.METHODS[method])
    QApplication.processEvents()
    assert panel.findChild(QScrollArea).widget().minimumSizeHint().width() <= panel.minimumWidth()


def test_the_names_of_settings_are_not_cut_off(make_napari_viewer, movie):
    viewer = make_napari_viewer(show=True)
    viewer.add_image(movie, name="clip")
    panel = open_panel(viewer)
    panel.settings.expand(animate=False)
    QApplication.processEvents()
    labels = [label for label in panel.settings.findChildren(QLabel) if label.text()]
    assert len(labels) > 9
    for label in labels:
        assert label.fontMetrics().horizontalAdvance(label.text()) <= label.contentsRect().width(), label.text()


def test_without_a_video_the_panel_says_what_to_do_first(make_napari_viewer):
    viewer = make_napari_viewer()
    panel = open_panel(viewer)
    assert "Open a video" in hint(panel.controller)
    assert not panel.first_steps.isHidden()
    assert panel.work_area.isHidden()
    image = viewer.add_image(np.zeros((3, 32, 40), np.uint8))
    assert panel.first_steps.isHidden()
    assert not panel.work_area.isHidden()
    viewer.layers.remove(image)
    assert not panel.first_steps.isHidden()


@pytest.mark.usefixtures("installed_plugins")
def test_one_click_opens_the_demo_clip(make_napari_viewer):
    viewer = make_napari_viewer()
    panel = open_panel(viewer)
    panel.first_steps.demo.click()
    assert panel.images.currentText() == "demo clip"
    assert panel.controller.frame == 0


def test_the_question_mark_opens_the_tutorial(make_napari_viewer, opened):
    panel = open_panel(make_napari_viewer())
    panel.help.click()
    assert opened == [TUTORIAL]


@pytest.mark.parametrize("button", ["read", "close_hint"])
def test_the_first_hint_comes_once(remembered, make_napari_viewer, opened, button):
    viewer = make_napari_viewer()
    panel = open_panel(viewer)
    assert not panel.first_hint.isHidden()
    getattr(panel.first_hint, button).click()
    assert panel.first_hint.isHidden()
    assert opened == ([TUTORIAL] if button == "read" else [])
    assert remembered.first_hint is False
    assert open_panel(make_napari_viewer()).first_hint.isHidden()


def test_where_it_cannot_be_remembered_there_is_no_first_hint(own_folder, npe2pm):
    from napari_pml.viewer.preferences import wants_first_hint

    assert not wants_first_hint()  # the plugin is not installed


@pytest.mark.parametrize(
    ("page", "part"), [("docs/tutorial.md", "# "), ("README.md", "## In napari"), ("docs/embedders.md", "# ")]
)
def test_what_the_documentation_tells_to_press_is_there(make_napari_viewer, fake_engine, movie, page, part):
    viewer = make_napari_viewer()
    viewer.add_image(movie, name="clip")
    panel = open_panel(viewer)
    panel.settings.expand(animate=False)
    shown = {w.text() for w in panel.findChildren(QWidget) if isinstance(w, QAbstractButton | QLabel)}
    code = "".join(p.read_text() for p in Path(napari_pml.__file__).parent.glob("viewer/**/*.py"))
    manifest = PluginManifest.from_file(Path(napari_pml.__file__).parent / "napari.yaml")
    contributions = manifest.contributions
    named = {manifest.display_name, *(c.display_name for c in contributions.widgets + contributions.sample_data)}
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(), flags=re.DOTALL).split(part, 1)[1]
    text = " ".join(text.split("\n## In Python")[0].split())
    words = {w for run in re.findall(r"(?<!\*)\*([A-Z+?][^*]+|\?)\*(?!\*)", text) for w in re.split(" > |: ", run)}
    assert len(words) > 1
    missing = {w for w in words - shown - named - NAPARIS_OWN if f'"{w.removesuffix(" ...")}' not in code}
    assert not missing
