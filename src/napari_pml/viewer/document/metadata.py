"""Keys in the metadata of layers: what the plugin remembers with them."""

ROLE = "napari-pml"
"""Which part a layer has for which image layer: (role, identity of the image layer)."""

DOCUMENT = "napari-pml document"
"""The `VideoDocument` of an image layer."""

PROJECT = "napari-pml project"
"""The path of the project that an image layer was opened from, or restored from."""

READ_FROM = "napari-pml read from"
"""Paths, as strings, of what else was read for a layer than its data say."""

TRACK_NAMES = "napari-pml names"
"""Of a Tracks layer: object -> its name. Its features are numbers alone, since napari makes colours of any of them."""

TRACKS_OF = "napari-pml tracks"
"""Of a Tracks layer: the `unique_id` of the layer whose objects it follows."""
