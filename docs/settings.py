"""Writes docs/settings.md: what every method can be set to, from the settings themselves.

python docs/settings.py
"""

from pathlib import Path
from typing import get_args, get_origin, get_type_hints

from napari_pml.methods.config import MethodConfig
from napari_pml.methods.registry import METHODS

PAGE = Path(__file__).with_name("settings.md")

BEGINNING = """# Settings

What `--config KEY=VALUE` takes on the command line, `replace(session.config, ...)` in Python, *Settings* in the panel.
`napari-pml info` prints what the methods are set to. Made by `python docs/settings.py`.
"""


def page() -> str:
    """Return the page: a table for each kind of method."""
    kinds: dict[type[MethodConfig], list[str]] = {}
    for name, config in METHODS.items():
        kinds.setdefault(type(config), []).append(name)
    return BEGINNING + "".join(table(kind, names) for kind, names in kinds.items())


def table(kind: type[MethodConfig], names: list[str]) -> str:
    """Return the table of the methods `names`, whose settings are of one kind."""
    hints = get_type_hints(kind, include_extras=True)
    lines = [
        f"\n## {', '.join(names)}\n",
        f"| key | values | {' | '.join(names)} | |",
        "|---|---|" + "---|" * (len(names) + 1),
    ]
    for key, hint in hints.items():
        if key != "method":
            given = [word(getattr(METHODS[name], key)) for name in names]
            lines.append(
                f"| `{key}` | {values(*get_args(hint))} | {' | '.join(given)} | {get_args(hint)[1]['tooltip']} |"
            )
    return "\n".join(lines) + "\n"


def values(kind: type, about: dict[str, object]) -> str:
    """Return what a setting can be."""
    if get_origin(kind) is not None:
        return ", ".join(get_args(kind))
    return "true, false" if kind is bool else f"{about['min']:g} to {about['max']:g}"


def word(value: object) -> str:
    """Return a value as it is written on the command line."""
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
