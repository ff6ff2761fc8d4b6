"""A sentence that says what to do next."""

from __future__ import annotations

from math import ceil

from napari_pml.viewer.control.controller import Controller
from napari_pml.viewer.jobs.progress import spoken


def hint(controller: Controller) -> str:
    """Return what to do next."""
    document = controller.document
    if document is None:
        return controller.problem or (
            "Open a video first: drop a file or a folder of images into the viewer, or try the demo clip."
        )
    if not document.is_drawn_on:
        return "Choose an object and paint a stroke on it. A few pixels are enough."
    if document.session is None and str(controller.jobs.problems):
        return "This is in the way; your strokes stay, and count as soon as it is mended:"
    if document.session is None:
        return "Getting ready: loading the network..."
    if controller.jobs.propagating:
        return "Go on painting if you like: the video follows."
    if document.frames_done < len(document.session.video):
        return "Propagate to the whole video, or paint where the mask is wrong: on Background where it leaks."
    return "Done. A stroke on any frame corrects the whole video: propagate again afterwards."


def status(controller: Controller) -> str:
    """Return which network runs where, what it takes for frames that it has not seen, and whether it looks at them."""
    session = controller.document.session if controller.document is not None else None
    if not session:
        return ""
    device = {"cpu": "CPU", "cuda": "GPU", "mps": "Apple GPU"}.get(session.device.type, session.device.type)
    text = f"{device}, {session.embedder.name}"
    seconds = session.embeddings.seconds
    if seconds is not None and session.uses_embeddings and (n := session.embeddings.n_missing):
        rest = f"{spoken(ceil(seconds * n))} for the {n} still to be looked at"
        text += f": looking at a frame takes {seconds:.2g} s, {rest}"
    prepared = controller.jobs.preparation.progress
    return f"{text}; preparing frames: {prepared[0]} of {prepared[1]}" if prepared else text
