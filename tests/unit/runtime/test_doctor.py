"""Each check tells a sound part from a broken one, and what to do about it."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from thresher.contracts.errors import EndpointError, SpecError, ThresherError
from thresher.runtime.doctor import (
    Check,
    UnfitError,
    imported,
    run_check,
    served_models,
    store_check,
    supported_python,
    usable_store,
)
from thresher.storage import open_store

KEY = "the-right-key"


class Endpoint(BaseHTTPRequestHandler):
    """Lists one model under /v1 to who has the key; something else entirely under /other."""

    def do_GET(self) -> None:
        if self.path.startswith("/other"):
            self.answer(200, b"<html>a web page</html>")
        elif self.headers["Authorization"] != f"Bearer {KEY}":
            self.answer(401, b"{}")
        elif self.path == "/v1/models":
            self.answer(200, json.dumps({"data": [{"id": "grain-1b"}]}).encode())
        elif self.path == "/empty/models":
            self.answer(200, b'{"data": []}')
        else:
            self.answer(404, b"{}")

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Endpoint)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_check_is_one_line_whatever_it_finds() -> None:
    def fail() -> str:
        raise UnfitError("broken: mend it so.")

    results = [run_check(Check("first", fail)), run_check(Check("second", lambda: "sound"))]
    assert [result.line() for result in results] == [
        "FAIL  first: broken: mend it so.",
        "ok    second: sound",
    ]
    assert [result.ok for result in results] == [False, True]


def test_pythons() -> None:
    assert supported_python((3, 12)) == "3.12"
    with pytest.raises(UnfitError, match=r"3\.10 is not supported.*3\.11 or 3\.12"):
        supported_python((3, 10))


def test_an_import_is_tried_in_a_process_of_its_own() -> None:
    assert imported("import json; print('noise'); print(json.__name__)") == "json"
    with pytest.raises(UnfitError, match=r"No module named 'nowhere_to_be_found'.*pip install"):
        imported("import nowhere_to_be_found")


def test_an_import_that_crashes_or_hangs_is_told() -> None:
    with pytest.raises(UnfitError, match="ended with code -6"):
        imported("import os; os.abort()")
    with pytest.raises(UnfitError, match="hangs"):
        imported("import time; time.sleep(60)", timeout_s=0.5)


def test_a_store_is_left_as_it_was(tmp_path: Path) -> None:
    root = (tmp_path / "store").as_uri()
    assert usable_store(root) == f"{root}, with conditional writes"
    assert list(open_store(root).list("")) == []


def test_a_store_that_cannot_be_written_fails(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert not run_check(store_check((tmp_path / "file").as_uri())).ok
    with pytest.raises(SpecError, match="s3://"):
        usable_store("ftp://somewhere")


def test_an_endpoint_lists_its_models(endpoint: str) -> None:
    assert served_models(f"{endpoint}/v1", KEY) == f"{endpoint}/v1 serves grain-1b"


@pytest.mark.parametrize(
    ("path", "key", "words"),
    [
        ("/v1", "wrong-key", "401 .*OPENAI_API_KEY"),
        ("/v2", KEY, "404 .*OPENAI_BASE_URL"),
        ("/other", KEY, "no OpenAI-compatible endpoint"),
        ("/empty", KEY, "lists no model"),
    ],
)
def test_an_endpoint_that_will_not_do_is_told_without_the_key(
    endpoint: str, path: str, key: str, words: str
) -> None:
    with pytest.raises(EndpointError, match=words) as raised:
        served_models(endpoint + path, key)
    assert key not in str(raised.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/v1", "not a url"])
def test_an_endpoint_that_is_not_there(url: str) -> None:
    with pytest.raises(ThresherError, match="OPENAI_BASE_URL"):
        served_models(url, KEY)
