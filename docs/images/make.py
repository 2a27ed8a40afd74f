"""Makes the pictures of the documentation from a real run on the sample photographs: ``python docs/images/make.py``.

Needs the tools for tests (``make test`` installs them) and Chromium, found on the path or named by CHROMIUM. The
browser's clock stands at a fixed time, so that the pictures change only when what they show does.
"""

from __future__ import annotations

import email
import os
import shutil
import subprocess
import sys
import tempfile
from base64 import b64encode
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Final

from playwright.sync_api import Browser, Page, sync_playwright

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
LOOKOUT: Final = Path(sys.executable).with_name("lookout")
NOW: Final = datetime(2025, 11, 23, 9, 30, tzinfo=UTC)
"""A while after the newest of the sample photographs."""
THREAT: Final = "porch/1763798400.jpg"
MAX_BYTES: Final = 300_000
BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def main() -> None:
    browser_path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser_path is None:
        sys.exit("Chromium is needed: install it, or name it in CHROMIUM")
    with tempfile.TemporaryDirectory(prefix="lookout-images-") as folder:
        state = Path(folder)
        run(state)
        shutil.copyfile(state / "objects" / "threat-detect" / THREAT, HERE / "threat.jpg")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
            show_page(browser, state)
            show_mail(browser, state)
            browser.close()
    for path in sorted(HERE.glob("*.jpg")):
        size = path.stat().st_size
        if size > MAX_BYTES:
            sys.exit(f"{path.name}: expected at most {MAX_BYTES} bytes, got {size}")


def run(state: Path) -> None:
    """One run without a key, so that the mails are files in the state folder."""
    environment = {name: value for name, value in os.environ.items() if name != "SENDGRID_API_KEY"}
    command = [str(LOOKOUT), "run", "examples/photos", "--rules", "examples/rules", "--state", str(state)]
    subprocess.run(command, check=True, cwd=ROOT, env=environment)  # noqa: S603 - our own command


def show_page(browser: Browser, state: Path) -> None:
    page = opened(browser, 1280, 1620)
    page.goto((state / "objects" / "plot" / "index.html").as_uri())
    page.wait_for_function(
        "[...document.images].filter(image => image.src).length > 4 && [...document.images].every(i => i.complete)"
    )
    page.evaluate("Promise.all(document.getAnimations().map(animation => animation.finished))")
    page.screenshot(path=HERE / "page.jpg", type="jpeg", quality=80)


def show_mail(browser: Browser, state: Path) -> None:
    """The HTML of the mail about ``THREAT``, as a mail reader shows it: with the picture that it carries."""
    html = next(html for path in sorted((state / "outbox").glob("*.eml")) if (html := mail_html(path)))
    page = opened(browser, 720, 900)
    page.set_content(html, wait_until="load")
    page.screenshot(path=HERE / "mail.jpg", type="jpeg", quality=80, full_page=True)


def mail_html(path: Path) -> str | None:
    """The HTML with its pictures inside, or None if the mail is about another picture."""
    message = email.message_from_bytes(path.read_bytes(), policy=default)
    body = message.get_body(("html",))
    if not isinstance(body, EmailMessage):
        return None
    whole = body if not body.is_multipart() else None
    parts = list(message.walk())
    html = (whole or next(part for part in parts if part.get_content_type() == "text/html")).get_content()
    if "porch_1763798400.jpg" not in html:
        return None
    for part in parts:
        if part.get_content_type() == "image/jpeg":
            data = b64encode(part.get_payload(decode=True)).decode("ascii")
            html = html.replace(f"cid:{part['Content-ID'].strip('<>')}", f"data:image/jpeg;base64,{data}")
    return str(html)


def opened(browser: Browser, width_px: int, height_px: int) -> Page:
    page = browser.new_page(
        viewport={"width": width_px, "height": height_px}, locale="en-GB", reduced_motion="reduce", color_scheme="light"
    )
    page.clock.set_fixed_time(NOW)
    return page


if __name__ == "__main__":
    main()
