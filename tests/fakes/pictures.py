"""What a picture says to who looks at it: its text as tesseract reads it."""

from __future__ import annotations

import ctypes
import ctypes.util
import difflib
import os
import re
import subprocess
import tempfile
from pathlib import Path

SCALE = 2.0
"""A page's text is too small for tesseract: without this it does not see what stands in a field."""
COLUMN = "4"
"""The mode for one column of text finds what stands in a field or on a button; 11, for text anywhere, does not."""
_PNG = 3


def read(picture: Path) -> str:
    """Return the text in a picture, line by line; a picture in which there is none has the empty one."""
    with tempfile.TemporaryDirectory() as folder:
        enlarged = Path(folder, "enlarged.png")
        _enlarge(picture, enlarged)
        done = subprocess.run(
            ["tesseract", enlarged, "-", "--psm", COLUMN],
            # More threads than cores only wait for each other, and the tests are not alone here.
            env={**os.environ, "OMP_THREAD_LIMIT": "1"},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
    return done.stdout


def _enlarge(picture: Path, enlarged: Path) -> None:
    """Write the picture again, larger, by the library that tesseract itself reads pictures with."""
    name = ctypes.util.find_library("lept") or ctypes.util.find_library("leptonica")
    assert name is not None, "tesseract's leptonica is not there"
    leptonica = ctypes.CDLL(name)
    leptonica.pixRead.restype = leptonica.pixScale.restype = ctypes.c_void_p
    leptonica.pixScale.argtypes = [ctypes.c_void_p, ctypes.c_float, ctypes.c_float]
    leptonica.pixWrite.argtypes = [ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int]
    leptonica.pixDestroy.argtypes = [ctypes.POINTER(ctypes.c_void_p)]
    small = ctypes.c_void_p(leptonica.pixRead(os.fsencode(picture)))
    assert small, f"{picture} is no picture"
    large = ctypes.c_void_p(leptonica.pixScale(small, SCALE, SCALE))
    failed = leptonica.pixWrite(os.fsencode(enlarged), large, _PNG)
    for pix in (small, large):
        leptonica.pixDestroy(ctypes.byref(pix))
    assert not failed, f"{enlarged} cannot be written"


def words_of(text: str) -> set[str]:
    """Return the words of three letters and more: what is shorter, or no word, tesseract may see in a frame or mask."""
    return set(re.findall(r"[a-z]{3,}", text.lower()))


def differences(some: str, others: str) -> set[str]:
    """Return the words of either text that have no like in the other: one letter of five may be read otherwise."""
    one, two = words_of(some), words_of(others)
    return {word for word in one if not _has_like(word, two)} | {word for word in two if not _has_like(word, one)}


def _has_like(word: str, words: set[str]) -> bool:
    return bool(difflib.get_close_matches(word, words, n=1, cutoff=0.8))
