"""The web page with a question answered, as a picture: docs/page.png. Needs Chromium and `pip install -e ".[dev]"`.

    python -m bench.page_picture [--out docs/page.png] [--question TEXT]

Starts `percel serve` on a home of its own, adds examples/corpus through the page as a user does, asks, and takes the
picture when the citation's box stands on its page.
"""

import argparse
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from bench.service import serving

ROOT = Path(__file__).parents[1]
CORPUS = ROOT / "examples" / "corpus"
QUESTION = "When was the road closed by police?"
WIDTH, HEIGHT = 1280, 800
COLOURS = 128  # of the picture, so that it stays small
PATIENCE = 300_000  # ms, for the documents to be ready
START = 120_000  # ms, for the browser's
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Nothing that leaves this machine, and no graphics card.
ARGUMENTS = ["--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update"]


def find_chromium() -> str | None:
    """The path of an installed Chromium, or None."""
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


@contextmanager
def opened_browser(program: str) -> Iterator[Browser]:
    """A headless Chromium with a profile of its own, closed afterwards."""
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # root has none
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*ARGUMENTS, *sandbox], timeout=START)
        try:
            yield browser
        finally:
            browser.close()


def take(browser: Browser, url: str, question: str, out: Path) -> None:
    """Adds the corpus, asks, opens the first citation and photographs the page."""
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
    page.goto(f"{url}/#demo")
    page.set_input_files("#files", sorted(CORPUS.iterdir()))
    count = len(list(CORPUS.iterdir()))
    page.get_by_text(f"{count} of {count} documents ready").wait_for(timeout=PATIENCE)
    page.fill("#question", question)
    page.click("#ask .main")
    page.locator("#sheet .box").first.wait_for()
    page.locator("article .small img").first.wait_for()
    page.mouse.move(0, 0)
    with Image.open(io.BytesIO(page.screenshot())) as picture:
        picture.quantize(COLOURS).save(out, optimize=True)


def main() -> None:
    """Takes the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "page.png")
    parser.add_argument("--question", default=QUESTION, help="its first citation must be a PDF's")
    given = parser.parse_args()
    program = find_chromium()
    if program is None:
        sys.exit("no Chromium is installed (on Debian: apt-get install chromium)")
    with (
        tempfile.TemporaryDirectory(prefix="percel-page-") as home,
        serving(Path(home)) as url,
        opened_browser(program) as browser,
    ):
        take(browser, url, given.question, given.out)
    print(f"{given.out}: {given.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
