"""The documentation as a browser shows it, built as scripts/docs builds it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from page_fixtures import chromium
from playwright.sync_api import Browser, expect

ROOT = Path(__file__).parents[2]
__all__ = ["chromium"]
pytestmark = pytest.mark.browser
WRITTEN = {
    "cli": "scripts/cli-reference",
    "faults": "scripts/chaos --markdown",
    "login-matrix": "scripts/login-matrix",
    "reference/metrics": "scripts/metrics-reference",
    "reference/settings": "scripts/settings-reference",
    "simulation": "scripts/simulate",
    "supervisor": "scripts/supervisor-reference",
}
"""What writes a page."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the built pages; no warning is let pass."""
    folder = tmp_path_factory.mktemp("docs")
    argv = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--nitpicky", "--quiet", "-b", "html"]
    done = subprocess.run([*argv, ROOT / "docs", folder], capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize(
    "name", ["index", "coming-from-ibeam", "how-to/troubleshooting", "live-account", "reference/settings"]
)
def test_a_page_fits_its_window(built: Path, chromium: Browser, name: str, width: int) -> None:
    """Nothing but a table or a block of code is scrolled sideways; pictures are there; code can be copied."""
    page = chromium.new_page(viewport={"width": width, "height": 900})
    page.goto(f"file://{built / name}.html")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("[...document.images].every(one => one.complete && one.naturalWidth > 0)")
    expect(page.locator("button.copybtn")).to_have_count(page.locator("div.highlight pre").count())
    page.close()


def test_the_front_page_shows_how_to_begin(built: Path, chromium: Browser) -> None:
    """A picture, the install and three lines to paste, and ways to the pages that people look for."""
    page = chromium.new_page()
    page.goto(f"file://{built}/index.html")
    expect(page.locator("article img")).to_have_count(1)
    install, begin = (block.inner_text().splitlines() for block in page.locator("div.highlight pre").all())
    assert [line.split()[:2] for line in install[-2:]] == [["pipx", "install"], ["pipx", "ensurepath"]]
    assert len(begin) == 3
    assert begin[0] == "gwctl setup"
    for name in ("do-you-need-the-gateway", "coming-from-ibeam", "live-account", "how-to/troubleshooting"):
        assert page.locator(f"article a[href^='{name}.html']").count() >= 1, name
    page.close()


def test_what_a_program_prints_has_no_copy_button(built: Path, chromium: Browser) -> None:
    """The button copies a block's text; an output beside it has none."""
    context = chromium.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.goto(f"file://{built}/reference/doctor.html")
    assert page.locator("div.highlight pre").count() == page.locator("button.copybtn").count() + 1
    page.locator("div.highlight pre").last.hover()
    page.locator("button.copybtn").last.click()
    assert page.evaluate("navigator.clipboard.readText()") == "gwctl doctor --bundle report.zip"
    context.close()


@pytest.mark.parametrize("name", WRITTEN)
def test_what_writes_a_page_is_said_at_its_end(name: str) -> None:
    """Whoever would edit a generated page learns from it what to edit; whoever reads it is not kept up by that."""
    lines = (ROOT / "docs" / f"{name}.md").read_text().rstrip().splitlines()
    assert lines[-1].startswith(f"*Written by `{WRITTEN[name]}")
    assert not [line for line in lines[:-1] if "ritten by `scripts" in line]
