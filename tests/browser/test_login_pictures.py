"""The docs' pictures show what the login pages, and a failed login's evidence, look like today."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import pictures
import pytest
from pictures import differences, words_of

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "docs" / "pictures"
LARGEST_BYTES = 25_000
SAYS = {
    "login-current": "Paper",
    "login-code": "Security code",
    "login-devices": "Mobile Authenticator App",
    "login-push": "A notification was sent to your device",
    "login-legacy": "Paper Trading",
    "login-evidence": "Invalid username password combination",
}


@pytest.mark.wide
@pytest.mark.browser
@pytest.mark.timeout(180)
@pytest.mark.needs("tesseract")
def test_pictures_are_true(tmp_path: Path) -> None:
    """Each picture in docs is small and has, word for word, the text of the same picture taken now."""
    subprocess.run([sys.executable, ROOT / "scripts" / "render-login", tmp_path], check=True, timeout=150)
    assert {file.stem for file in KEPT.glob("login-*.png")} == {file.stem for file in tmp_path.glob("*")} == set(SAYS)
    kept = {name: pictures.read(KEPT / f"{name}.png") for name in SAYS}
    anew = {name: pictures.read(tmp_path / f"{name}.png") for name in SAYS}
    assert {name: gone for name in SAYS if (gone := differences(kept[name], anew[name]))} == {}
    assert [name for name, said in SAYS.items() if said not in " ".join(kept[name].split())] == []
    assert [name for name in SAYS if (KEPT / f"{name}.png").stat().st_size > LARGEST_BYTES] == []
    # No two look alike to the comparison: it would find one that was swapped or outdated.
    assert [pair for pair in itertools.combinations(SAYS, 2) if not differences(kept[pair[0]], anew[pair[1]])] == []


def test_one_other_word_is_a_difference() -> None:
    """A word that was changed, added or removed is found; a misread letter is not."""
    page = "Sandbox: not Interactive Brokers\n\nPaper\n\nUsername"
    assert differences(page, page.replace("Username", "Usernarne")) == set()
    assert differences(page, page.replace("Paper", "Simulated")) == {"paper", "simulated"}
    assert differences(page, page + "\nPassword") == {"password"}
    assert differences(page, "") == words_of(page)
