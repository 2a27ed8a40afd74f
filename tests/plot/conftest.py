"""A real Chromium for the tests of the page. Without one they fail: a page nobody looked at is not tested."""

from __future__ import annotations

import http.server
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import unquote

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.plot.site_maker import FEW, PICTURE, site

Open = Callable[..., Page]

_ARGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class _Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128
    """A browser asks for a whole page of pictures at once; five may wait by default, and the others are reset."""


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """A headless Chromium: the one that CHROMIUM names, or the first on the path."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if not path:
        pytest.fail("the page's tests need Chromium: install it, or name it in the variable CHROMIUM", pytrace=False)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(_ARGS))
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Open]:
    """Open a page; at the end nothing may have been logged, refused, missing or asked of anywhere else."""
    trouble: list[str] = []
    contexts = []

    def opened(path: Path | str, hash_: str = "", *, missing: str = "", **options: object) -> Page:
        url = path.as_uri() if isinstance(path, Path) else path
        root = url.removesuffix("plot/index.html")
        context = chromium.new_context(
            **{"viewport": {"width": 1280, "height": 900}, "locale": "en-GB", "reduced_motion": "reduce", **options}
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)

        def asked(request_url: str) -> None:
            if not request_url.startswith((root, "data:image/svg+xml")):
                trouble.append(f"asked for {request_url}")

        def failed(url: str, why: object) -> None:
            if not missing or missing not in unquote(url):
                trouble.append(f"{why}: {url}")

        page.on("request", lambda request: asked(request.url))
        page.on("requestfailed", lambda request: failed(request.url, request.failure))
        page.on("response", lambda response: failed(response.url, response.status) if response.status >= 400 else None)
        page.on("pageerror", lambda error: trouble.append(f"error: {error}"))
        page.on("console", lambda message: failed(message.location["url"], message.text))
        page.goto(url + hash_)
        expect(page.locator("#gallery")).to_have_attribute("aria-busy", "false")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert trouble == []


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    extra = {
        "-__-": {"pictures": 1, "invalid": 1, "invalid:name": 1},
        "porch__2025-11-22": {"pictures": 3, "valid": 1, "invalid": 2, "invalid:truncated": 2},
    }
    return site(tmp_path_factory.mktemp("few"), FEW, PICTURE, **extra)


@pytest.fixture(params=["file", "http"])
def anywhere(request: pytest.FixtureRequest, few: Path) -> Iterator[Path | str]:
    """The page's address: in a folder, and in a bucket that anyone may read."""
    with address(few, request.param) as found:
        yield found


@contextmanager
def address(path: Path, kind: str) -> Iterator[Path | str]:
    """Give the address of a page: "file" of its folder, "http" of a server at work for the length of the context."""
    if kind == "file":
        yield path
        return

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """The test's own output stays clean."""

    handler = partial(Quiet, directory=str(path.parents[1]))
    with _Server(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/plot/index.html"
        server.shutdown()
        thread.join()
