"""Texts of pages, logs and names. The last part are those that found a fault."""

from __future__ import annotations

INPUTS: dict[str, str] = {
    "nothing": "",
    "zeros": "\0" * 4096,
    "every control character": "".join(map(chr, (*range(32), *range(127, 160)))),
    "escape sequences": "\x1b[2J\x1b]0;title\x07\x1b]52;c;ZXZpbA==\x07\x9b31m\x1bP+q\x1b\\",
    "directions": "\u202eevil\u202c\u2066x\u2069\u200f\u061c",
    "nothing to see": "a\u200b\u200c\u200d\u2060\ufeff\u00ad\u034f\u180e\u3164b",
    "tags": "\U000e0001\U000e0041\U000e007f",
    "surrogates": "\ud800 \udcff \udfff",
    "private and none": "\ue000 \uffff \U0010ffff \ufdd0",
    "line ends": "a\nb\r\nc\rd\x85e\u2028f\u2029g\x0bh\x0ci\x1cj",
    "many accents": "z" + "\u0301" * 5000,
    "wide": "\ufdfa" * 2000,
    "capitals that grow": "ßİŉǰΐΰﬃﬓ" * 200,
    "a long word": "a" * 8000,
    "a long number": "1" * 8000,
    "many words": "log in " * 1000,
    "nearly a notification": "notification " + "x " * 3000 + "sent",
    "nearly approvals": "approve " * 800,
    "nearly no code": "code sms text message " * 400,
    "dashes": "user-" * 1500,
    "underscores": "_-_ " * 2000,
    "dots and signs": "a.b+c%d-" * 1000 + "@",
    "hexadecimal": "ab:" * 3000,
    "brackets": "<" * 4000 + "(pid 1, user " * 300,
    "addresses": "1.2.3.4.5.6." * 700 + "::1" * 500,
    "paths": "/home/" * 1500,
    "equal signs": "password= " * 800 + "token:" * 800,
    "every language": "Войти ログイン 登录 로그인 כניסה دخول เข้าสู่ระบบ Σύνδεση Anmelden giriş" * 20,
}
