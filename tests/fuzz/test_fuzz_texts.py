"""Texts for a terminal and for a bug report: nothing in them controls a terminal, and no secret survives."""

from __future__ import annotations

import base64
import json
from random import Random
from urllib.parse import quote

import pytest
from corpus.texts import INPUTS
from fuzzing import EXAMPLES, TEXTS, about, bounded, fuzzed, seeds, value
from hypothesis import given
from hypothesis import strategies as st

from gwctl.doctor.redaction import Redactor
from gwctl.plain_text import cleaned, json_text, many_lines, one_line

LONGEST_CPU_S = 2.0


def show(text: str) -> None:
    """Clean a text in every way, and check that a terminal shows what it has."""
    with bounded():
        line = one_line(text)
        assert line.isprintable()
        assert one_line(line) == line
        lines = many_lines(text)
        assert lines.replace("\n", "").replace("\t", "").isprintable()
        line.encode()
        assert json.loads(json_text(text)) == text
        assert json_text(text).isprintable()


@pytest.mark.parametrize("case", INPUTS)
def test_a_kept_text_is_shown(case: str) -> None:
    """Every text that was ever interesting is shown without what controls a terminal."""
    show(INPUTS[case])


def test_any_text_is_shown() -> None:
    """Whatever a text is, it is shown as printable characters; whatever JSON is, so are its texts and names."""

    @fuzzed(100)
    @given(st.text(st.characters(), max_size=60) | st.text(st.characters(categories=("C", "Z", "M"))), seeds)
    def check(text: str, seed: int) -> None:
        show(text)
        plain = cleaned(value(Random(seed)))
        with bounded():
            assert json_text(plain).isprintable()

    check()


# Secrets.

ORDINARY = (
    *(
        "hunter2 is it",
        "Quail-Harbor-5521",
        "correct horse battery staple",
        "pässwörd-ß",
        "a'b\"c\\d",
        "пароль-123",
        "密码密码密码",
    ),
    *(
        "x+y/z=w==",
        "JBSWY3DPEHPK3PXP",
        "https://hooks.example/T0/B1?token=a1b2",
        "100%sure&certain",
        "  padded  ",
        "tab\there",
    ),
    *(
        "[a-z]+(.*)$",
        "\\1\\g<0>",
        "naïve\u2028line",
        "İstanbul",
        "ǆenan",
        "emoji-\U0001f40e!",
        "two\nlines",
        "cafe\u0301",
        "ﬃx-ligature",
    ),
)


def spellings(secret: str) -> dict[str, str]:
    """Return a secret as programs write it."""
    plain = secret.encode()
    return {
        "plain": secret,
        "capitals": secret.upper() if secret.upper().lower() == secret.lower() else secret,
        "quoted": quote(secret, safe=""),
        "percent": "".join(f"%{byte:02X}" for byte in plain),
        "hex": plain.hex(),
        "JSON": json.dumps(secret),
        "JSON of letters": json.dumps(secret, ensure_ascii=False),
        "Python": repr(secret),
        "base64": base64.b64encode(plain).decode(),
        "base64 in a pair": base64.b64encode(b"user:" + plain).decode(),
        "base64 of a longer pair": base64.urlsafe_b64encode(b"username:" + plain + b":x").decode(),
    }


def hidden(secret: str, text: str, redactor: Redactor) -> None:
    """Redact a text that has a secret in it; what is left of it must not be it."""
    with bounded(cpu_s=LONGEST_CPU_S):
        left = redactor.text(text)
        assert not redactor.finds(left)
        for spelling, form in spellings(secret).items():
            assert form.strip() not in left, spelling
        assert secret.strip().casefold() not in left.casefold()


@pytest.mark.parametrize("secret", ORDINARY)
def test_a_secret_in_any_spelling_is_taken_out(secret: str) -> None:
    """A canary in each spelling between each text that was ever interesting is gone afterwards."""
    redactor = Redactor([secret], words=["alice"], folders={"/srv/alice": "~"}, keep=["20230424-a27ed421"])
    for form in spellings(secret).values():
        for text in (
            "",
            "x",
            " ",
            "\0",
            "\n",
            "20230424-a27ed421",
            "/srv/alice",
            *(one[:300] for one in list(INPUTS.values())[:: 1 if EXAMPLES else 5]),
        ):
            with about((form, text)):
                hidden(secret, f"{text}{form}{text}", redactor)


def test_any_secret_is_taken_out_of_anything() -> None:
    """Whatever the secret and the text, it is gone, and so it is from JSON of any shape, names included."""

    @fuzzed(100)
    @given(st.sampled_from(ORDINARY) | st.text(min_size=5, max_size=30).filter(lambda one: len(one.strip()) > 4), seeds)
    def check(secret: str, seed: int) -> None:
        of = Random(seed)
        redactor = Redactor(
            [secret, "another one"], words=["alice", "•"], folders={"/srv/a": "~"}, keep=[of.choice(("x1y2z3", secret))]
        )
        form = of.choice(list(spellings(secret).values()))
        around = of.choice((*TEXTS, *INPUTS.values()))[:200], of.choice((*TEXTS, *INPUTS.values()))[:200]
        with about((secret, form, around)):
            hidden(secret, f"{around[0]}{form}{around[1]}", redactor)
            said = redactor.value({form: [form, {"a": form}, value(of, 2)]})
            assert not redactor.finds(json.dumps(said, ensure_ascii=False))

    check()


@pytest.mark.parametrize("case", INPUTS)
def test_a_long_text_is_redacted_in_time(case: str) -> None:
    """A log of any content is redacted in time, and twice is the same as once."""
    redactor = Redactor(["Quail-Harbor-5521", "ab"], words=["alice"], folders={"/home/alice": "~"}, keep=["1.2.3.4.5"])
    with bounded(cpu_s=LONGEST_CPU_S):
        once = redactor.text(INPUTS[case])
    with bounded(cpu_s=LONGEST_CPU_S):
        assert redactor.text(once) == once
