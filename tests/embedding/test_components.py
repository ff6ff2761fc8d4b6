import numpy as np
import pytest

from napari_pml.embedding.components import PrincipalComponents


@pytest.fixture
def frames():
    """Two frames (6, 9, 16) that differ from cell to cell along three known directions, and a little in all."""
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.normal(size=(16, 3)))[0].T
    amounts = rng.normal(size=(2, 6, 9, 3)) * (5, 2, 1)
    return (3 + amounts @ directions + rng.normal(size=(2, 6, 9, 16)) / 100).astype(np.float32), amounts


def test_the_directions_of_largest_variance_are_found(frames):
    embeddings, amounts = frames
    found = PrincipalComponents.fit(list(embeddings)).positions(embeddings)
    assert (found.dtype, found.shape) == (np.float32, (2, 6, 9, 3))
    for i in range(3):
        assert abs(np.corrcoef(found[..., i].ravel(), amounts[..., i].ravel())[0, 1]) > 0.99


def test_colours_use_the_whole_range_and_do_not_depend_on_what_else_is_shown(frames):
    embeddings, _ = frames
    components = PrincipalComponents.fit(list(embeddings))
    rgb = components.rgb(embeddings)
    assert (rgb.dtype, rgb.min(), rgb.max()) == (np.float32, 0, 1)
    assert np.ptp(rgb, axis=(0, 1, 2)).tolist() == [1, 1, 1]
    np.testing.assert_allclose(components.rgb(embeddings[1, 2:4]), rgb[1, 2:4], atol=1e-6)


def test_the_same_embeddings_in_another_order_give_the_same_colours(frames):
    embeddings, _ = frames
    one, other = PrincipalComponents.fit(list(embeddings)), PrincipalComponents.fit([embeddings[::-1, ::-1]])
    np.testing.assert_allclose(one.rgb(embeddings), other.rgb(embeddings), atol=1e-3)


def test_a_video_without_contrast_has_a_colour_too():
    embeddings = np.full((4, 5, 8), 0.25, np.float32)
    rgb = PrincipalComponents.fit([embeddings]).rgb(embeddings)
    assert np.isfinite(rgb).all()
    assert np.ptp(rgb) == 0
