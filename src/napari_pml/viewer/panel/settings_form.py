"""A form for a method's settings, made from its configuration dataclass when it is first unfolded."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, get_type_hints

from magicgui.widgets import ComboBox, Container, create_widget
from magicgui.widgets.bases import ValueWidget
from qtpy.QtCore import Signal
from superqt import QCollapsible

if TYPE_CHECKING:
    from napari_pml.methods.config import MethodConfig

_OTHER = "own"
_NARROWEST = 58  # pixels of a field: beside the longest label it still fits into the panel


class SettingsForm(QCollapsible):
    """Folded at first, because importing the method takes seconds and few people need it."""

    changed = Signal(object)  # the new MethodConfig
    network_chosen = Signal(str, str)  # its name, for `load_embedder`, and the resolution in which it sees frames

    def __init__(self) -> None:
        super().__init__("Settings", expandedIcon="▼", collapsedIcon="▶")
        self.setToolTip("Which network and which method, and what they may be set to")
        self._fields: dict[str, ValueWidget[Any]] = {}
        self._config: MethodConfig | None = None
        self._network: ComboBox | None = None
        self._shown_network, self._shown_resolution = "compact", "auto"
        self._frame: tuple[int, int] | None = None
        self.layout().setContentsMargins(0, 0, 0, 0)
        self.toggled.connect(self._build)

    @property
    def config(self) -> MethodConfig:
        """The settings as they are in the form."""
        assert self._config is not None
        return replace(self._config, **{name: widget.value for name, widget in self._fields.items()})

    def show_config(self, config: MethodConfig | None) -> None:
        """Show the settings that are in use; before the form is unfolded, remember them."""
        if config is None:
            return
        if self._fields:
            self._fill(config)
        else:
            self._config = config

    def show_network(self, name: str, resolution: str = "auto", frame: tuple[int, int] | None = None) -> None:
        """Show which network is in use, also one of the person's own, and how it sees frames of (H, W) pixels."""
        self._shown_network, self._shown_resolution = name, resolution
        if self._network is None:
            self._frame = frame
            return
        with self._network.changed.blocked(), self._resolution.changed.blocked():
            if name not in self._networks:
                self._networks.append(name)
                self._network.reset_choices()
            if frame != self._frame:
                self._frame = frame
                self._resolution.reset_choices()
            self._network.value, self._resolution.value = name, resolution

    def _resolutions(self, _: Any = None) -> list[tuple[str, str]]:
        """Return what there is to choose, each with its price: how much longer a frame takes than as by default."""
        from napari_pml.video.working import RESOLUTIONS, working_size

        words = {"auto": "automatic", "native": "as stored", "2x": "enlarged 2x", "4x": "enlarged 4x"}
        if self._frame is None:
            return [(words[name], name) for name in RESOLUTIONS]
        sizes = {name: working_size(*self._frame, name) for name in RESOLUTIONS}
        times = {
            name: height * width / (sizes["auto"][0] * sizes["auto"][1]) for name, (height, width) in sizes.items()
        }
        return [
            (f"{words[name]}: {width} x {height}" + (f", {times[name]:.3g} x time" if times[name] > 1 else ""), name)
            for name, (height, width) in sizes.items()
        ]

    def _on_network(self, _: Any) -> None:
        assert self._network is not None
        chosen = self._network.value, self._resolution.value
        if chosen != (self._shown_network, self._shown_resolution):
            self.network_chosen.emit(*chosen)

    def _build(self) -> None:
        if self._fields:
            return
        from napari_pml import METHODS
        from napari_pml.embedding.registry import EMBEDDERS

        self._methods, self._networks = METHODS, [*EMBEDDERS]
        self._network = ComboBox(label="network", choices=lambda _: self._networks, tooltip="What describes the pixels")
        self._resolution = ComboBox(label="resolution", choices=self._resolutions)
        self._resolution.tooltip = "In which the network sees frames: enlarge them for objects of a few pixels"
        for choice in (self._network, self._resolution):
            choice.changed.connect(self._on_network)
        self.show_network(self._shown_network, self._shown_resolution, self._frame)
        self._method = ComboBox(label="method", choices=[*METHODS, _OTHER], tooltip="How to segment")
        self._method.changed.connect(self._on_method)
        self._form: Container[Any] = Container(widgets=[self._network, self._resolution, self._method])
        self._form.margins = (0, 0, 0, 0)
        self.addWidget(self._form.native)
        self._fill(self._config or METHODS["pml"])

    def _on_method(self, name: str) -> None:
        if name != _OTHER:
            self._fill(self._methods[name])
            self.changed.emit(self.config)

    def _on_field(self, _: Any) -> None:
        self._name_method()
        self.changed.emit(self.config)

    def _fill(self, config: MethodConfig) -> None:
        if not self._fields or type(config) is not type(self._config):
            self._make_fields(config)
        self._config = config
        for key, widget in self._fields.items():
            with widget.changed.blocked():
                widget.value = getattr(config, key)
        self._name_method()

    def _make_fields(self, config: MethodConfig) -> None:
        """Show the fields of another method."""
        for widget in self._fields.values():
            self._form.remove(widget)
        hints = get_type_hints(type(config), include_extras=True)
        made = {
            field.name: create_widget(field.default, hints[field.name], name=field.name) for field in fields(config)
        }
        self._fields = {name: widget for name, widget in made.items() if isinstance(widget, ValueWidget)}
        for widget in self._fields.values():
            widget.changed.connect(self._on_field)
            self._form.append(widget)
        for widget in self._form:
            widget.native.setMinimumWidth(_NARROWEST)

    def _name_method(self) -> None:
        config = self.config
        with self._method.changed.blocked():
            self._method.value = next((n for n, c in self._methods.items() if c == config), _OTHER)
