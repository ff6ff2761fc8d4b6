import sys
from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from napari_pml.embedding.device import choose_device
from napari_pml.embedding.networks.compact import TRUNKS, CompactNet
from napari_pml.embedding.networks.efficientnet import STAGES, EfficientNetTrunk, fold_batch_norm
from napari_pml.embedding.networks.foundation import to_grid
from napari_pml.embedding.registry import EMBEDDERS, load_embedder
from napari_pml.embedding.stores import MemoryStore
from napari_pml.embedding.video_embeddings import VideoEmbeddings
from napari_pml.embedding.weights import about_weights, bundled, load_weights, save_weights
from napari_pml.errors import WeightsError
from napari_pml.grid import grid_shape
from napari_pml.video.video import open_video
from small_networks import random_resnet101, save_vision_transformer

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """What a person has downloaded: networks in miniature, under the names of the real ones."""
    cache = tmp_path_factory.mktemp("cache")
    for name in ("dinov2-small", "dinov3-small"):
        save_vision_transformer(cache / "weights" / name, name.partition("-")[0])
    path = cache / "weights" / "deeplab-resnet101" / "deeplabv3_resnet101_coco-586e9e4e.pth"
    path.parent.mkdir(parents=True)
    torch.save({f"backbone.{name}": value for name, value in random_resnet101(branch=0.1).items()}, path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("napari_pml.embedding.catalogue.cache_folder", lambda: cache)
        yield cache


@pytest.fixture(scope="module", params=["compact", "deeplab-resnet101", "dinov2-small", "dinov3-small"])
def embedder(request, cache):
    return load_embedder(request.param, CPU)


@pytest.mark.parametrize("size", [(64, 96), (61, 83), (8, 8), (1, 1), (240, 426)])
def test_every_size_gives_unit_vectors_on_the_grid(embedder, size):
    out = embedder.embed(torch.rand(2, 3, *size), torch.tensor([-1.0, 1.0]))
    assert out.shape == (2, embedder.dim, *grid_shape(*size, embedder.stride))
    assert torch.allclose(out.norm(dim=1), torch.ones(1), atol=1e-3)


def test_the_same_input_gives_the_same_vectors(embedder):
    frames, t = torch.rand(1, 3, 64, 64), torch.zeros(1)
    assert torch.equal(embedder.embed(frames, t), embedder.embed(frames, t))


def test_place_and_time_are_seen():
    embedder = load_embedder("compact", CPU)
    grey = torch.full((1, 3, 96, 96), 0.5)
    first, last = embedder.embed(grey, torch.tensor([-1.0])), embedder.embed(grey, torch.tensor([1.0]))
    assert not torch.allclose(first, last, atol=1e-4)


@pytest.mark.parametrize("corner", [(28, 28), (28, 100), (92, 28), (92, 100)])
@pytest.mark.parametrize("size", [(128, 136), (121, 133)])
def test_a_disc_is_found_where_it_is(embedder, size, corner):
    """The cells that a disc changes most lie around its centre, to less than half a cell."""
    y, x = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    noise = torch.rand(3, *size, generator=torch.Generator().manual_seed(0)) * 0.2 + 0.3
    disc = torch.hypot(y - corner[0] + 0.0, x - corner[1] + 0.0) < 11 * embedder.stride / 8
    frames = torch.stack([noise, torch.where(disc, torch.tensor([0.9, 0.2, 0.1])[:, None, None], noise)])
    plain, changed = embedder.embed(frames, torch.zeros(2))
    difference = (1 - (plain * changed).sum(0)).clamp_min(0) ** 2
    stride = embedder.stride
    rows = torch.arange(difference.shape[0]) * stride + (stride - 1) / 2
    columns = torch.arange(difference.shape[1]) * stride + (stride - 1) / 2
    found = (
        (difference.sum(1) * rows).sum() / difference.sum(),
        (difference.sum(0) * columns).sum() / difference.sum(),
    )
    assert abs(found[0] - corner[0]) < stride / 2
    assert abs(found[1] - corner[1]) < stride / 2


@pytest.mark.parametrize("kind", TRUNKS, ids=lambda kind: kind.__name__)
def test_a_cell_looks_at_its_own_place(kind, monkeypatch):
    """Seen through kernels that are all equal, a trunk is a blur, and the pixels that a cell sees have a centre."""
    monkeypatch.setattr(F, "max_pool2d", F.avg_pool2d)  # of equal values, a maximum takes the first
    trunk = kind().eval()
    for name, parameter in trunk.named_parameters():
        nn.init.zeros_(parameter) if name.endswith("bias") else nn.init.constant_(parameter, 1 / parameter[0].numel())
    side, cell = 8 * 27, 13  # the cell in the middle, so that what the border cuts off is the same on all sides
    frames = torch.full((1, 3, side, side), 10.0, requires_grad=True)
    both = torch.stack([depth[0, :, cell, cell].mean() for depth in trunk(frames)])
    (seen,) = torch.autograd.grad(both.log().sum(), frames)
    pixels = torch.arange(side, dtype=torch.float64)
    for axis in (0, 1):
        weight = seen[0].sum((0, 2 - axis)).double()
        assert abs((weight * pixels).sum() / weight.sum() - (8 * cell + 3.5)) < 1


def test_the_bundled_weights_say_what_they_are():
    path = bundled("compact")
    assert path.stat().st_size < 15e6
    state, fingerprint = load_weights(path, "compact")
    assert all(torch.isfinite(value).all() for value in state.values())
    assert fingerprint.startswith("compact-")
    assert path.with_suffix(".md").exists()


def test_weights_come_back_as_they_were_written(tmp_path):
    state = {name: value.half().float() for name, value in CompactNet().state_dict().items()}
    save_weights(state, tmp_path / "new.safetensors", "compact", steps="1")
    back, fingerprint = load_weights(tmp_path / "new.safetensors", "compact")
    assert all(torch.equal(back[name], state[name]) for name in state)
    assert load_embedder(str(tmp_path / "new.safetensors"), CPU).fingerprint == fingerprint
    assert [p.name for p in tmp_path.iterdir()] == ["new.safetensors"]


def test_equal_weights_have_equal_fingerprints(tmp_path):
    state = load_weights(bundled("compact"))[0]
    about = {"steps": "1", "data": "a b", "licence": "Größe", "config": "{}"}
    paths = [tmp_path / f"{i}.safetensors" for i in range(4)]
    for path in paths:
        save_weights(state, path, "compact", **about)
    assert len({load_weights(path)[1] for path in paths}) == 1
    assert about_weights(paths[0]) == {"architecture": "compact", **about}


def test_unusable_weights_say_why(tmp_path):
    with pytest.raises(WeightsError, match="no weights at"):
        load_embedder(str(tmp_path / "gone.safetensors"), CPU)
    (tmp_path / "broken.safetensors").write_bytes(b"not weights at all")
    with pytest.raises(WeightsError, match="not a readable"):
        load_embedder(str(tmp_path / "broken.safetensors"), CPU)
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors", metadata={"architecture": "vgg"})
    with pytest.raises(WeightsError, match="'vgg'"):
        load_embedder(str(tmp_path / "other.safetensors"), CPU)
    save_file({"a": torch.zeros(1)}, tmp_path / "unfit.safetensors", metadata={"architecture": "compact"})
    with pytest.raises(WeightsError, match="does not fit"):
        load_embedder(str(tmp_path / "unfit.safetensors"), CPU)
    with pytest.raises(WeightsError, match="Choose one of compact"):
        load_embedder("vgg", CPU)


def test_a_device_can_be_chosen():
    assert choose_device("cpu").type == "cpu"
    assert choose_device().type in {"cpu", "cuda", "mps"}


def test_the_memory_store_takes_any_number_of_small_frames():
    store, frame = MemoryStore(max_bytes=10**9), torch.ones(8, dtype=torch.float16)
    for t in range(70_000):  # more than there may be pieces of memory
        store.put(t, frame)
    assert torch.equal(store.get(69_999), frame)


def test_what_the_memory_store_keeps_is_its_own():
    store, frame = MemoryStore(max_bytes=10**9), torch.ones(200, 200, 4, dtype=torch.float16)
    store.put(0, frame)
    assert torch.equal(store.get(0), torch.ones(200, 200, 4, dtype=torch.float16))


def test_the_memory_store_stays_within_its_budget():
    store = MemoryStore(max_bytes=300)
    for t in range(5):
        store.put(t, torch.zeros(100, dtype=torch.uint8))
        store.get(0)
    assert store.n_bytes == 300
    assert [t for t in range(5) if t in store] == [0, 3, 4]


def test_embeddings_are_computed_once_and_when_needed(drawn, colour_embedder):
    embeddings = VideoEmbeddings(open_video(drawn[0]), colour_embedder)
    assert colour_embedder.calls == 0
    first = embeddings[3]
    assert torch.equal(embeddings[3], first)
    assert colour_embedder.calls == 1
    assert first.shape == (12, 16, 4)
    assert 3 in embeddings
    assert 2 not in embeddings


def test_an_odd_video_is_embedded_without_complaint(embedder):
    frames = np.full((2, 9, 9), np.nan)
    assert torch.isfinite(VideoEmbeddings(open_video(frames), embedder)[0]).all()


def test_published_weights_become_those_of_the_trunk():
    """A convolution, and BatchNorm with fixed statistics after it, is what the folded convolution computes."""
    generator = torch.Generator().manual_seed(0)
    trunk = EfficientNetTrunk()
    published = {}

    def conv(name, *shape, norm=None):
        published[f"{name}.weight"] = torch.randn(*shape, generator=generator)
        if norm is None:
            published[f"{name}.bias"] = torch.randn(shape[0], generator=generator)
        else:
            for part in ("weight", "bias", "running_mean", "running_var"):
                published[f"{norm}.{part}"] = torch.rand(shape[0], generator=generator) + 0.5

    conv("_conv_stem", 32, 3, 3, 3, norm="_bn0")
    for i, (block, stage) in enumerate(zip(trunk.blocks, STAGES, strict=True)):
        name = f"_blocks.{i}"
        if block.expand is not None:
            conv(f"{name}._expand_conv", *block.expand.weight.shape, norm=f"{name}._bn0")
        conv(f"{name}._depthwise_conv", *block.depthwise.weight.shape, norm=f"{name}._bn1")
        conv(f"{name}._se_reduce", *block.squeeze.weight.shape)
        conv(f"{name}._se_expand", *block.excite.weight.shape)
        conv(f"{name}._project_conv", *block.project.weight.shape, norm=f"{name}._bn2")
        assert block.project.weight.shape[0] == stage.n_out
    trunk.load_state_dict(fold_batch_norm(published))

    x = torch.rand(1, 3, 16, 16, generator=generator)
    y = torch.nn.functional.conv2d(x, published["_conv_stem.weight"], stride=2)
    norm = [published[f"_bn0.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
    expected = torch.nn.functional.batch_norm(y, *norm, eps=1e-3)
    assert torch.allclose(trunk.stem(x), expected, atol=1e-4)


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("trunk", TRUNKS)
def test_every_trunk_sees_a_spot_in_the_cell_where_it_is(trunk):
    """Filters of random networks point anywhere; those of a network and of its mirror image point around the spot."""
    frames = torch.full((2, 3, 96, 128), 0.5)
    frames[1, :, 44:52, 68:76] = 1.0
    found = []
    for seed, mirrored in product(range(5), (False, True)):
        torch.manual_seed(seed)
        net = trunk().eval()
        with torch.no_grad():
            for weight in net.parameters():
                if mirrored and weight.ndim == 4:
                    weight.copy_(weight.flip(-1, -2))
            for features in net(frames):
                change = (features[1] - features[0]).square().sum(0)
                change = (change - change.median()).clamp_min(0)  # what changes everywhere says nothing
                rows, columns = (change.sum(axis) / change.sum() for axis in (1, 0))
                found.append([(rows * torch.arange(12)).sum() * 8 + 3.5, (columns * torch.arange(16)).sum() * 8 + 3.5])
    y, x = torch.tensor(found).mean(0)
    assert abs(y - 47.5) < 2
    assert abs(x - 71.5) < 2


def test_every_name_is_explained_where_nothing_was_downloaded(tmp_path, monkeypatch):
    monkeypatch.setattr("napari_pml.embedding.catalogue.cache_folder", lambda: tmp_path)
    for name in EMBEDDERS.keys() - {"compact"}:
        how = "accept the licence" if name.startswith("dinov3") else f"'napari-pml download {name}'"
        with pytest.raises(WeightsError, match=how) as caught:
            load_embedder(name, CPU)
        assert str(tmp_path / "weights" / name) in str(caught.value)


def test_a_folder_is_an_embedder(tmp_path):
    folder = save_vision_transformer(tmp_path / "mine", "dinov2")
    embedder = load_embedder(str(folder), CPU)
    assert embedder.dim == 32
    (folder / "model.safetensors").write_bytes(b"half")
    with pytest.raises(WeightsError, match=r"needs config\.json and model\.safetensors"):
        load_embedder(str(folder), CPU)


def test_without_transformers_it_says_what_to_install(tmp_path, monkeypatch):
    folder = save_vision_transformer(tmp_path / "mine", "dinov2")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(WeightsError, match=r"pip install 'napari-pml\[foundation\]'"):
        load_embedder(str(folder), CPU)


def test_tokens_keep_to_the_edges_of_the_image():
    """A token that is half on an object: its cells on the object are like the object, the others like the ground."""
    frames = torch.zeros(1, 3, 64, 64)
    frames[..., 24:] = 1  # the edge is in the middle of the second patch of 16
    tokens = torch.zeros(1, 2, 4, 4)
    tokens[:, 0, :, 0], tokens[:, 1, :, 2:] = 1, 1
    tokens[:, :, :, 1] = 0.5
    cells = to_grid(tokens, frames, 16, 8)
    assert (cells[0, 0, :, :3] > cells[0, 1, :, :3]).all()
    assert (cells[0, 1, :, 3:] > cells[0, 0, :, 3:]).all()


def test_a_checkpoint_with_code_in_it_is_refused(tmp_path):
    torch.save({"weight": print}, tmp_path / "evil.pth")
    with pytest.raises(WeightsError, match="tensors alone"):
        load_weights(tmp_path / "evil.pth")
