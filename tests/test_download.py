import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from typer.testing import CliRunner

from napari_pml.cli import app
from napari_pml.download import DownloadError, RemoteFile, fetch
from napari_pml.embedding import catalogue
from napari_pml.embedding.registry import load_embedder
from small_networks import save_vision_transformer

CONTENT = b"a video, so to say" * 100


def git_blob(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@pytest.fixture
def server():
    """A server on this machine.

    `files` are what it has, `tags` what it says of them, `asked` which parts were asked for; it answers the first
    `cut` requests with half of what it promised, and with `refusal` if that is set.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(server.refusal or (200 if self.path in server.files else 404))
            if self.path in server.tags:
                self.send_header("X-Linked-Etag", f'"{server.tags[self.path]}"')
            self.end_headers()

        def do_GET(self):
            server.asked.append(self.headers.get("Range"))
            if server.refusal or self.path not in server.files:
                self.send_error(server.refusal or 404)
                return
            content = server.files[self.path]
            start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            end = len(content)
            if server.cut:
                server.cut -= 1
                end = (start + end) // 2
            self.wfile.write(content[start:end])

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.files, server.tags, server.asked = {"/clip.mp4": CONTENT}, {}, []
        server.cut, server.refusal = 0, None
        server.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


def remote(server, name="clip.mp4", content=CONTENT):
    return RemoteFile(f"{server.url}/{name}", hashlib.sha256(content).hexdigest())


def test_a_file_is_downloaded_once(server, tmp_path):
    path = fetch(remote(server), tmp_path / "cache")
    assert path == tmp_path / "cache" / "clip.mp4"
    assert path.read_bytes() == CONTENT
    assert fetch(remote(server), tmp_path / "cache") == path
    assert len(server.asked) == 1


def test_a_damaged_copy_is_replaced(server, tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"half of")
    assert fetch(remote(server), tmp_path).read_bytes() == CONTENT


def test_a_download_that_was_cut_off_goes_on_where_it_stopped(server, tmp_path, monkeypatch):
    monkeypatch.setattr("napari_pml.download.PIECE", 50)
    server.cut = 2
    for _ in range(2):
        with pytest.raises(DownloadError, match="goes on where it stopped"):
            fetch(remote(server), tmp_path)
    assert not (tmp_path / "clip.mp4").exists()
    assert fetch(remote(server), tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=900-", "bytes=1350-"]
    assert [p.name for p in tmp_path.iterdir()] == ["clip.mp4"]


def test_a_download_that_was_complete_but_not_yet_put_in_its_place(server, tmp_path):
    (tmp_path / "clip.mp4.partial").write_bytes(CONTENT)
    assert fetch(remote(server), tmp_path).read_bytes() == CONTENT


def test_another_file_than_expected_is_thrown_away(server, tmp_path):
    with pytest.raises(DownloadError, match="not the file"):
        fetch(remote(server, content=b"something else"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_first_digits_of_a_checksum_suffice(server, tmp_path):
    file = RemoteFile(f"{server.url}/clip.mp4", hashlib.sha256(CONTENT).hexdigest()[:8])
    assert fetch(file, tmp_path).read_bytes() == CONTENT
    with pytest.raises(DownloadError, match="not the file"):
        fetch(RemoteFile(f"{server.url}/clip.mp4", "01234567"), tmp_path)


@pytest.mark.parametrize("tag", [hashlib.sha256(CONTENT).hexdigest(), git_blob(CONTENT)])
def test_the_servers_own_checksum_finds_damage(server, tmp_path, tag):
    file, server.tags["/clip.mp4"] = RemoteFile(f"{server.url}/clip.mp4"), tag
    assert fetch(file, tmp_path).read_bytes() == CONTENT
    server.files["/clip.mp4"] = CONTENT + b"!"
    with pytest.raises(DownloadError, match="not the file"):
        fetch(file, tmp_path / "anew")


def test_a_damaged_copy_is_replaced_where_only_the_server_knows_the_checksum(server, tmp_path):
    file, server.tags["/clip.mp4"] = RemoteFile(f"{server.url}/clip.mp4"), git_blob(CONTENT)
    path = fetch(file, tmp_path)
    assert fetch(file, tmp_path) == path
    assert len(server.asked) == 1
    path.write_bytes(b"damaged")
    assert fetch(file, tmp_path).read_bytes() == CONTENT


def test_a_file_that_somebody_put_there_counts_as_it_is(server, tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"got on another computer")
    assert fetch(RemoteFile(f"{server.url}/clip.mp4"), tmp_path).read_bytes() == b"got on another computer"


def test_without_any_checksum_nothing_is_taken(server, tmp_path):
    with pytest.raises(DownloadError, match="has no checksum"):
        fetch(RemoteFile(f"{server.url}/clip.mp4"), tmp_path)


def test_a_file_that_is_gone(server, tmp_path):
    with pytest.raises(DownloadError, match=r"gone\.mp4 is not there any more.*404"):
        fetch(remote(server, name="gone.mp4"), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("status", [401, 403])
def test_a_file_behind_a_licence(server, tmp_path, status):
    server.refusal = status
    with pytest.raises(DownloadError, match="accept it, download the file yourself, and put it into"):
        fetch(remote(server), tmp_path)


def test_without_a_connection(server, tmp_path):
    file = remote(server)
    server.server_close()
    with pytest.raises(DownloadError, match=r"No connection to 127\.0\.0\.1, .* Connect to the internet") as caught:
        fetch(file, tmp_path)
    assert file.url in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_a_cache_that_cannot_be_written(server, tmp_path):
    (tmp_path / "a file").touch()
    with pytest.raises(DownloadError, match="cannot be kept"):
        fetch(remote(server), tmp_path / "a file")


def test_a_network_is_downloaded_and_used(server, tmp_path, monkeypatch):
    folder = save_vision_transformer(tmp_path / "origin", "dinov2")
    for path in folder.iterdir():
        server.files[f"/{path.name}"] = path.read_bytes()
    server.tags["/config.json"] = git_blob(server.files["/config.json"])
    server.tags["/model.safetensors"] = hashlib.sha256(server.files["/model.safetensors"]).hexdigest()
    files = tuple(RemoteFile(f"{server.url}/{name}") for name in ("config.json", "model.safetensors"))
    published = catalogue.Published(files, 1, "Apache-2.0", server.url)
    monkeypatch.setitem(catalogue.CATALOGUE, "dinov2-small", published)
    monkeypatch.setattr(catalogue, "cache_folder", lambda: tmp_path / "cache")

    listed = CliRunner().invoke(app, ["info", "--device", "cpu"]).output
    assert "dinov2-small: to be downloaded (1 MB)" in listed
    result = CliRunner().invoke(app, ["download", "dinov2-small"])
    assert result.exit_code == 0, result.output
    assert "dinov2-small: 1 MB, Apache-2.0" in result.output
    embedder = load_embedder("dinov2-small", torch.device("cpu"))
    assert embedder.embed(torch.rand(1, 3, 30, 40), torch.zeros(1)).shape == (1, 32, 4, 5)
    assert "dinov2-small: to be" not in CliRunner().invoke(app, ["info", "--device", "cpu"]).output


def test_a_network_that_nobody_knows():
    result = CliRunner().invoke(app, ["download", "vgg"])
    assert result.exit_code == 1
    assert "There are deeplab-resnet101, dinov2-small" in result.output
