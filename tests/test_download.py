import hashlib
import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from napari_pml.download import DownloadError, RemoteFile, fetch

CONTENT = b"a video, so to say" * 100


@pytest.fixture(autouse=True)
def quiet():
    logging.getLogger("pooch").setLevel(logging.ERROR)


@pytest.fixture
def server():
    """A server on this machine that has one file, and counts how often it is asked; gives its address too."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            server.asked += 1
            found = self.path == "/clip.mp4"
            self.send_response(200 if found else 404)
            self.end_headers()
            self.wfile.write(CONTENT if found else b"not here")

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked = 0
        server.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


def remote(server, name="clip.mp4", content=CONTENT):
    return RemoteFile(f"{server.url}/{name}", hashlib.sha256(content).hexdigest(), "nobody")


def test_a_file_is_downloaded_once(server, tmp_path):
    path = fetch(remote(server), tmp_path)
    assert path == tmp_path / "clip.mp4"
    assert path.read_bytes() == CONTENT
    assert fetch(remote(server), tmp_path) == path
    assert server.asked == 1


def test_a_damaged_copy_is_replaced(server, tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"half of")
    assert fetch(remote(server), tmp_path).read_bytes() == CONTENT


def test_another_file_than_expected_is_thrown_away(server, tmp_path):
    with pytest.raises(DownloadError, match="not the file"):
        fetch(remote(server, content=b"something else"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_gone(server, tmp_path):
    with pytest.raises(DownloadError, match=r"gone\.mp4 is not there any more.*404"):
        fetch(remote(server, name="gone.mp4"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_a_connection(server, tmp_path):
    file = remote(server)
    server.server_close()
    with pytest.raises(DownloadError, match=r"No connection to 127\.0\.0\.1, .* Connect to the internet"):
        fetch(file, tmp_path)


def test_a_cache_that_cannot_be_written(server, tmp_path):
    (tmp_path / "a file").touch()
    with pytest.raises(DownloadError, match="cannot be kept"):
        fetch(remote(server), tmp_path / "a file")
