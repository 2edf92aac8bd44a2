"""A wrong key, name or value: the nearest right one is named, and all of them where they are few."""

from __future__ import annotations

import pytest
from cli_fakes import Home

from gwctl.cli.main import LazyGroup
from gwctl.known_words import nearest, suggestion

SECRETS = "known: password, totp_secret, notify_webhook, notify_webhook_token, notify_urls"
MISTYPED: list[tuple[tuple[str, ...], dict[str, str], str]] = [
    (("profile", "set", "default", "usrname=x"), {}, "did you mean username=…?"),
    (("profile", "create", "other", "--set", "prot=5001"), {}, "did you mean port=…?"),
    (("profile", "create", "other", "--mode", "papr"), {}, "did you mean paper?"),
    (("profile", "set", "default", "mode=papr"), {}, "did you mean paper?"),
    (("profile", "set", "default", "second_factor=topt"), {}, "did you mean totp?"),
    (("profile", "set", "default", "isolation=namespaces"), {}, "did you mean namespace?"),
    (("profile", "set", "default", "on_competing=takeover"), {}, "did you mean take_over?"),
    (("profile", "set", "default", "maintenance=europ"), {}, "did you mean europe?"),
    (("profile", "set", "defualt", "port=5001"), {}, "did you mean default? profiles: default; or gwctl profile"),
    (("profile", "show", "defualt"), {}, "gwctl --profile default …"),
    (("profile", "use", "defualt"), {}, "gwctl --profile default …"),
    (("profile", "delete", "defualt"), {}, "did you mean default?"),
    (("status", "--profile", "defualt"), {}, "gwctl --profile default …"),
    (("profile", "show"), {"GWCTL_USERNMAE": "x"}, "did you mean GWCTL_USERNAME?"),
    (("browser", "show"), {"GWCTL_BROWSER": "chrmium"}, "did you mean chromium?"),
    (("secret", "set", "pasword"), {}, f"did you mean password? {SECRETS}"),
    (("secret", "check", "zzz"), {}, SECRETS),
    (("completion", "bsh"), {}, "did you mean bash?"),
    (("release", "use", "standin-2"), {}, "did you mean standin-1? installed: standin-1"),
    (("release", "verify", "standin-2"), {}, "did you mean standin-1?"),
    (("sandbox", "on", "htp_503"), {}, "did you mean http_503?"),
    (("sandbox", "on", "slow", "delay=1"), {}, "did you mean delay_ms?"),
    (("sandbox", "do", "drop_sesion"), {}, "did you mean drop_session?"),
    (("sandbox", "of", "slow"), {}, "gwctl sandbox off"),
    (("stauts",), {}, "gwctl status"),
    (("status", "default"), {}, "try: gwctl --profile default status\n"),
    (("logs", "default"), {}, "try: gwctl --profile default logs\n"),
    (("status", "elsewhere"), {}, "try: gwctl status --help\n"),
    (("ls",), {}, "try: gwctl profile list\n"),
    (("settings",), {}, "try: gwctl profile show\n"),
    (("reset",), {}, "try: gwctl restart\n"),
    (("update",), {}, "try: gwctl release install\n"),
    *(((word,), {}, f"try: gwctl {verb}\n") for word, verb in LazyGroup.synonyms.items()),
]


@pytest.mark.parametrize(("argv", "variables", "meant"), MISTYPED, ids=[" ".join(argv) for argv, *_ in MISTYPED])
def test_the_nearest_right_one_is_named(
    sandbox: Home, argv: tuple[str, ...], variables: dict[str, str], meant: str
) -> None:
    """The hint says what was probably meant, and the exit code is that of a mistake."""
    done = sandbox.gwctl(*argv, **variables)
    assert done.exit_code in {2, 69, 78}
    assert meant in done.stderr


def test_a_key_of_the_settings_file_too(home: Home) -> None:
    """config.toml's keys and tables are suggested like those of the command line."""
    home.home.mkdir(parents=True, exist_ok=True)
    for text, meant in (('[defaults]\nusernme = "x"\n', "'username'"), ("[profile.default]\n", "'profiles'")):
        (home.home / "config.toml").write_text(text)
        done = home.gwctl("profile", "show")
        assert done.exit_code == 78
        assert f"did you mean {meant}?" in done.stderr


def test_no_suggestion_is_made_of_nothing_alike() -> None:
    """A word like none gets the list; many words are listed only then."""
    many = [f"word-{n}" for n in range(20)]
    assert nearest("xyz", many) is None
    assert suggestion("xyz", ["a", "b"]) == "known: a, b"
    assert suggestion("word_3", many, form="{!r}") == "did you mean 'word-3'?"
    assert suggestion("x", []) == "known: none"
