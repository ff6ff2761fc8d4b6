"""A form for a method's settings, made from its configuration dataclass when it is first unfolded."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, get_type_hints

from magicgui.widgets import ComboBox, Container, create_widget
from magicgui.widgets.bases import ValueWidget
from qtpy.QtCore import Signal
from superqt import QCollapsible

if TYPE_CHECKING:
    from napari_pml import PmlConfig

_OTHER = "own"


class SettingsForm(QCollapsible):
    """Folded at first, because importing the method takes seconds and few people need it."""

    changed = Signal(object)  # the new PmlConfig

    def __init__(self) -> None:
        super().__init__("Settings", expandedIcon="▼", collapsedIcon="▶")
        self._fields: dict[str, ValueWidget] = {}
        self._shown: PmlConfig | None = None
        self.layout().setContentsMargins(0, 0, 0, 0)
        self.toggled.connect(self._build)

    @property
    def config(self) -> PmlConfig:
        """The settings as they are in the form."""
        from napari_pml import PmlConfig

        return PmlConfig(**{name: widget.value for name, widget in self._fields.items()})

    def show_config(self, config: PmlConfig | None) -> None:
        """Show the settings that are in use; before the form is unfolded, remember them."""
        self._shown = config
        if self._fields and config is not None:
            self._fill(config)

    def _build(self) -> None:
        if self._fields:
            return
        from napari_pml import PRESETS, PmlConfig

        self._presets = PRESETS
        hints = get_type_hints(PmlConfig, include_extras=True)
        self._preset = ComboBox(label="preset", choices=[*PRESETS, _OTHER])
        for field in fields(PmlConfig):
            self._fields[field.name] = create_widget(field.default, hints[field.name], name=field.name)
        self._fill(self._shown or PmlConfig())
        self._form = Container(widgets=[self._preset, *self._fields.values()])
        self._form.margins = (0, 0, 0, 0)
        self._preset.changed.connect(self._on_preset)
        for widget in self._fields.values():
            widget.changed.connect(self._on_field)
        self.addWidget(self._form.native)

    def _on_preset(self, name: str) -> None:
        if name != _OTHER:
            self._fill(self._presets[name])
            self.changed.emit(self.config)

    def _on_field(self, _: Any) -> None:
        self._name_preset()
        self.changed.emit(self.config)

    def _fill(self, config: PmlConfig) -> None:
        for key, widget in self._fields.items():
            with widget.changed.blocked():
                widget.value = getattr(config, key)
        self._name_preset()

    def _name_preset(self) -> None:
        config = self.config
        with self._preset.changed.blocked():
            self._preset.value = next((n for n, c in self._presets.items() if c == config), _OTHER)
