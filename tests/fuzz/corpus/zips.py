"""Archives that should not become a release, and odd ones that may. The last part are those that found a fault."""

from __future__ import annotations

import io
import lzma
import stat
import struct
import zipfile
from collections.abc import Callable

from release_fakes import jar, packed, release_files, release_zip

GOOD = release_zip()


def added(
    name: str | bytes, content: bytes = b"x", *, mode: int = 0, method: int = zipfile.ZIP_DEFLATED, **entry: int
) -> bytes:
    """Return the good release with one more entry whose name and fields zipfile would not write."""
    raw = name if isinstance(name, bytes) else name.encode("utf-8", "surrogatepass")
    buffer = io.BytesIO(GOOD)
    with zipfile.ZipFile(buffer, "a") as archive:
        place = "p" * len(raw)
        made = zipfile.ZipInfo(place)
        made.create_system, made.external_attr = 3, mode << 16
        archive.writestr(made, content, method)
    whole = buffer.getvalue().replace(place.encode(), raw)
    return patched(whole, **entry)


def patched(whole: bytes, **entry: int) -> bytes:
    """Return an archive with other fields in the last entry of its index, and in the entry itself."""
    at, here = whole.rfind(b"PK\x01\x02"), whole.rfind(b"PK\x03\x04")
    fields = {
        "flags": (8, 6, "H"),
        "method": (10, 8, "H"),
        "crc": (16, 14, "I"),
        "packed": (20, 18, "I"),
        "size": (24, 22, "I"),
        "name": (28, 26, "H"),
        "extra": (30, 28, "H"),
        "disk": (34, None, "H"),
        "offset": (42, None, "I"),
    }
    changed = bytearray(whole)
    for field, value in entry.items():
        in_index, in_entry, kind = fields[field]
        struct.pack_into(f"<{kind}", changed, at + in_index, value)
        if in_entry is not None:
            struct.pack_into(f"<{kind}", changed, here + in_entry, value)
    return bytes(changed)


def ended(**end: int) -> bytes:
    """Return the good release with other fields in the record at its end."""
    places = {
        "disk": (4, "H"),
        "here": (8, "H"),
        "count": (10, "H"),
        "size": (12, "I"),
        "offset": (16, "I"),
        "comment": (20, "H"),
    }
    changed = bytearray(GOOD)
    for field, value in end.items():
        at, kind = places[field]
        struct.pack_into(f"<{kind}", changed, GOOD.rfind(b"PK\x05\x06") + at, value)
    return bytes(changed)


def crowded(count: int) -> bytes:
    """Return an archive whose index has this many entries without a name."""
    entry = b"PK\x01\x02" + b"\0" * 42
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count & 0xFFFF, count & 0xFFFF, len(entry) * count, 0, 0)
    return entry * count + end


def with_jar(content: bytes) -> bytes:
    """Return a release whose jar is this."""
    return packed({**release_files(), "dist/clientportal.gw.jar": content})


def conf(content: bytes) -> bytes:
    """Return a release with this configuration."""
    return release_zip(conf=content)


_LZMA_HUGE_WINDOW = struct.pack("<BBH", 9, 20, 5) + b"\x5d" + struct.pack("<I", 0xFFFFFFFF) + b"\0" * 64
INPUTS: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "a web page": lambda: b"\n <html>Access denied</html>",
    "an empty zip": lambda: packed({}),
    "the end alone": lambda: GOOD[GOOD.rfind(b"PK\x05\x06") :],
    "half": lambda: GOOD[: len(GOOD) // 2],
    "without its last byte": lambda: GOOD[:-1],
    "without its first byte": lambda: GOOD[1:],
    "a program before it": lambda: b"#!/bin/sh\nexit\n" + GOOD,
    "twice": lambda: GOOD + GOOD,
    "up": lambda: added("../../evil"),
    "up in the middle": lambda: added("root/../../evil"),
    "absolute": lambda: added("/etc/passwd"),
    "backslashes": lambda: added("..\\..\\evil"),
    "a drive": lambda: added("C:evil"),
    "NUL in a name": lambda: added("root/a\0b"),
    "an empty part": lambda: added("root//a"),
    "a dot": lambda: added("./root/a"),
    "the top": lambda: added("/"),
    "no name": lambda: patched(added("abc"), name=0),
    "a name longer than the file": lambda: patched(added("abc"), name=65_535),
    "a long name": lambda: added("d/" * 99 + "a" * 300),
    "deep folders": lambda: added("d/" * 5000 + "a"),
    "a name that is no UTF-8": lambda: added(b"root/\xff\xfe", flags=0x800),
    "a name with a surrogate": lambda: added("root/\ud800", flags=0x800),
    "a name in code page 437": lambda: added(b"root/\x9b\xff"),
    "a name that turns round": lambda: added("root/\u202egpj.exe", flags=0x800),
    "escape sequence in a name": lambda: added("root/\x1b[2J"),
    "same name": lambda: added("bin/run.sh"),
    "same name in capitals": lambda: added("BIN/RUN.SH"),
    "same name, folded": lambda: added("root/webapps/demo/INDEX.HTML"),
    "a file for a folder": lambda: added("root"),
    "a folder for a file": lambda: added("bin/run.sh/x"),
    "a folder's name for a file": lambda: added("bin/run.sh/"),
    "a link": lambda: added("root/l", b"/etc/passwd", mode=stat.S_IFLNK | 0o777),
    "a device": lambda: added("root/d", mode=stat.S_IFBLK | 0o600),
    "a character device": lambda: added("root/d", mode=stat.S_IFCHR | 0o600),
    "a pipe": lambda: added("root/d", mode=stat.S_IFIFO | 0o600),
    "a socket": lambda: added("root/d", mode=stat.S_IFSOCK | 0o600),
    "set-user-ID": lambda: added("root/d", mode=stat.S_IFREG | 0o4777),
    "encrypted": lambda: added("root/e", flags=0x1),
    "strongly encrypted": lambda: added("root/e", flags=0x41),
    "patched": lambda: added("root/e", flags=0x20),
    "unknown method": lambda: patched(added("root/e"), method=99),
    "wrong checksum": lambda: added("root/e", crc=1),
    "says more than it has": lambda: added("root/e", size=400_000_000),
    "says less than it has": lambda: patched(added("root/e", b"x" * 5_000_000), size=10),
    "packed beyond its end": lambda: added("root/e", packed=0xFFFFFFFF),
    "offset beyond its end": lambda: added("root/e", offset=0xFFFFFFF0),
    "offset of another entry": lambda: added("root/e", offset=0),
    "extra field beyond its end": lambda: added("root/e", extra=65_535),
    "on another disk": lambda: added("root/e", disk=7),
    "a bomb": lambda: added("root/e", b"\0" * 40_000_000),
    "three bombs, as it says": lambda: added("root/e", size=0xFFFFFFFF),
    "index at no place": lambda: ended(offset=0xFFFFFFF0),
    "index of no size": lambda: ended(size=0),
    "index larger than the file": lambda: ended(size=0xFFFFFFF0),
    "comment beyond its end": lambda: ended(comment=65_535),
    "many disks": lambda: ended(disk=3),
    "wrong count": lambda: ended(count=65_535, here=65_535),
    "Zip64 without its record": lambda: ended(count=65_535, here=65_535, size=0xFFFFFFFF, offset=0xFFFFFFFF),
    "5001 entries": lambda: packed({**release_files(), **{f"root/{n}": b"" for n in range(5001)}}),
    "a jar that is no zip": lambda: with_jar(b"jar"),
    "a jar cut short": lambda: with_jar(jar()[:-30]),
    "a jar with a page for a manifest": lambda: with_jar(jar(b"<html>" * 50_000)),
    "a jar that is a bomb": lambda: with_jar(jar(b"\0" * 30_000_000)),
    "a jar with a long manifest line": lambda: with_jar(jar(b"When-Built: " + b"2" * 60_000 + b"\r\n " * 20_000)),
    "a marker": lambda: packed({**release_files(), "gwctl-standin.json": b'{"version": "1"}'}),
    # Each found a fault.
    "bzip2": lambda: added("root/e", b"x" * 1000, method=zipfile.ZIP_BZIP2),
    "bzip2 that is none": lambda: patched(added("root/e", b"x" * 1000), method=zipfile.ZIP_BZIP2),
    "LZMA": lambda: added("root/e", b"x" * 1000, method=zipfile.ZIP_LZMA),
    "LZMA that is none": lambda: patched(added("root/e", b"x" * 1000), method=zipfile.ZIP_LZMA),
    "LZMA with a window of 4 GB": lambda: patched(
        added("root/e", _LZMA_HUGE_WINDOW, method=0), method=zipfile.ZIP_LZMA
    ),
    "a jar with LZMA that is none": lambda: with_jar(
        patched(packed({"META-INF/MANIFEST.MF": lzma.compress(b"x")}, 0), method=zipfile.ZIP_LZMA)
    ),
    "a jar with bzip2 that is none": lambda: with_jar(patched(packed({"META-INF/MANIFEST.MF": b"x"}, 0), method=12)),
    "a million entries": lambda: crowded(1_000_000),
    "a jar with 200,000 entries": lambda: with_jar(crowded(200_000)),
    "a marker with deep lists": lambda: packed({**release_files(), "gwctl-standin.json": b"[" * 60_000}),
}
