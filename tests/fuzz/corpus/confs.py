"""conf.yaml of a release, and of a profile on disk. The last part are those that found a fault."""

from __future__ import annotations


def _laughs(levels: int, *, merge: bool = False) -> bytes:
    """Return lists, or merged mappings, of ten times the one before."""
    lines = [b"a0: &a0 {k: v}" if merge else b"a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for level in range(1, levels):
        before = b", ".join([b"*a%d" % (level - 1)] * 10)
        lines.append(b"a%d: &a%d %s" % (level, level, b"{<<: [%s]}" % before if merge else b"[%s]" % before))
    return b"\n".join((*lines, b"ips: {allow: *a%d}" % (levels - 1), b""))


INPUTS: dict[str, bytes] = {
    "empty": b"",
    "a list": b"- a\n- b\n",
    "a text": b"text",
    "a number": b"5",
    "two documents": b"a: 1\n---\nb: 2\n",
    "zeros": b"\0" * 4096,
    "invalid UTF-8": b"a: \xff\xfe\n",
    "UTF-16": "listenPort: 5000\n".encode("utf-16"),
    "a tab": b"a:\n\t- b\n",
    "half": b"ips:\n  allow: [127.0.0",
    "an object of Python": b"a: !!python/object/apply:os.system ['touch /tmp/evil']\n",
    "an unknown tag": b"a: !strange {b: c}\n",
    "a list for a key": b"? [a, b]\n: c\n",
    "a mapping for a key": b"? {a: b}\n: c\n",
    "an unknown alias": b"a: *b\n",
    "no such bool": b"a: !!bool maybe\n",
    "no such number": b"a: !!int ''\nb: !!float ''\n",
    "base 60": b"a: 1:99:99\nb: 1:99.5\n",
    "binary that is none": b"a: !!binary '*'\n",
    "the value key": b"=: 5\n",
    "not a number": b"a: .nan\nb: .inf\nips: {allow: [.nan, .inf, 0x7f000001, 1.5, true, null, 2026-11-29]}\n",
    "a surrogate": b'a: "\\ud800"\nips: {allow: ["\\ud800"]}\n',
    "allow is a text": b"ips: {allow: 127.0.0.1}\n",
    "allow is a mapping": b"ips: {allow: {a: b}}\n",
    "ips is a list": b"ips: [allow]\n",
    "itself": b"a: &a [*a]\n",
    "itself, a mapping": b"a: &a {b: *a}\n",
    "the whole": b"&a\nb: *a\n",
    "a merge of itself": b"a: &a\n  <<: *a\n",
    "deep lists": b"a: " + b"[" * 900 + b"]" * 900,
    "deep blocks": b"".join(b" " * depth + b"a:\n" for depth in range(300)),
    "large": b"a: " + b"x" * 60_000,
    "many keys": b"".join(b"k%d: v\n" % number for number in range(1500)),
    "wide": b"a: [" + b"[]," * 4_000 + b"[]]\n",
    # Each found a fault.
    "no such day": b"a: 2023-99-99\n",
    "no such time": b"a: 2023-01-01 99:99:99\n",
    "long digits": b"a: " + b"9" * 5000 + b"\n",
    "deeper lists": b"a: " + b"[" * 100_000,
    "laughs": _laughs(9),
    "merged laughs": _laughs(9, merge=True),
    "allow, deep": b"ips: {allow: [" + b"[" * 400 + b"]" * 400 + b"]}\n",
    "huge": b"a: " + b"x" * 80_000_000,
    "huge and wide": b"a: [" + b"[]," * 2_000_000 + b"[]]\n",
}
