"""The rules that recognize an unknown page, control by control."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwctl.login.controls import Collected, Control
from gwctl.login.page_state import PageState
from gwctl.login.recognition import Recognized, describe, recognize
from gwctl.login.vocabulary import mode_of
from gwctl.setting_values import Element


def control(n: int, kind: str, name: str = "", **values: Any) -> Control:
    return Control(n=n, at=f"#{n}", kind=kind, name=name, scope=values.pop("scope", 1), **values)


USER = control(1, "text", "Username")
SECRET = control(2, "password", "Password")
SEND = control(3, "submit", "Log In")
FORM = (USER, SECRET, SEND)


def read(*controls: Control, **page: Any) -> Recognized:
    return recognize(Collected(controls, page.pop("alerts", ""), page.pop("text", ""), **page))


def places(seen: Recognized) -> dict[str, int]:
    return {element.value: one.n for element, one in seen.elements.items()}


def test_the_fields_and_the_button_of_one_form() -> None:
    """The password, the field before it, and the button that sends both; and by what each was found."""
    seen = read(*FORM)
    assert places(seen) == {"username": 1, "password": 2, "submit": 3}
    assert describe(seen) == (
        'password by the field for a password; username by its name "Username"; submit by the form\'s button'
    )
    assert seen.refused == ""


PAPER = [
    *("Paper", "Paper Trading", "Simulated", "Demo account", "Simuliertes Konto", "Demokonto", "Papierhandel"),
    *("Compte simulé", "Démo", "Conto simulato", "Conto demo", "Cuenta simulada", "Demostración", "Conta de simulação"),
    *(
        "Papieren rekening demo",
        "Gesimuleerd",
        "Демо-счёт",
        "Симулированный",
        "Учебный счёт",
        "ペーパートレード",
        "デモ口座",
    ),
    *(
        "模拟交易",
        "模擬交易",
        "虛擬",
        "חשבון דמו",
        "מסחר נייר",
        "حساب تجريبي",
        "محاكاة",
        "Papír",
        "Szimulált",
        "Konto demo",
    ),
    *("Simulované", "Demo hesap", "Simülasyon", "모의 투자", "Papperskonto demo", "Εικονικός λογαριασμός"),
]
LIVE = [
    *("Live", "Live Trading", "Real", "Echtgeld", "Live-Handel", "Réel", "Conto reale", "Real", "En vivo", "Ao vivo"),
    *(
        "Echt",
        "Реальный счёт",
        "Действительный",
        "ライブ",
        "本番口座",
        "真实交易",
        "實盤",
        "אמיתי",
        "חי",
        "حساب حقيقي",
        "مباشر",
    ),
    *("Éles", "Rzeczywisty", "Skutečný", "Gerçek", "실전 투자", "Πραγματικός"),
]
NEITHER = [
    "Remember me",
    "Go paperless",
    "Paper statements",
    "Live chat",
    "Real-time quotes",
    "English",
    "Deutsch",
    "",
    "中文",
]


@pytest.mark.parametrize(("names", "mode"), [(PAPER, "paper"), (LIVE, "live"), (NEITHER, None)])
def test_the_kind_of_account_in_many_languages(names: list[str], mode: str | None) -> None:
    """A switch's name says which kind of account it is for, or that it is for none."""
    assert {name: mode_of(name) for name in names} == dict.fromkeys(names, mode)


@pytest.mark.parametrize(
    ("switch", "paper", "ways"),
    [
        ([control(9, "switch", "Paper", on=True)], True, {"paper": "#9", "live": "#9"}),
        ([control(9, "switch", "Live", on=True)], False, {"paper": "#9", "live": "#9"}),
        ([control(9, "switch", "Remember me", on=True)], None, {}),
        (
            [control(8, "choice", "Live", on=True, group="g"), control(9, "choice", "Paper", on=False, group="g")],
            False,
            {"paper": "#9", "live": "#8"},
        ),
        (
            [control(8, "choice", "Live", on=False, group="g"), control(9, "choice", "Paper", on=False, group="g")],
            None,
            {"paper": "#9", "live": "#8"},
        ),
        (
            [control(8, "choice", "Password", on=True, group="g"), control(9, "choice", "QR", on=False, group="g")],
            None,
            {},
        ),
        (
            [
                control(
                    9, "select", "Account", options=(("", "Choose", False), ("l", "Live", False), ("p", "Paper", True))
                )
            ],
            True,
            {"paper": "#9 => p", "live": "#9 => l"},
        ),
        ([control(9, "select", "Language", options=(("e", "English", True), ("d", "Deutsch", False)))], None, {}),
    ],
)
def test_what_is_chosen_and_what_to_use(switch: list[Control], paper: object, ways: dict[str, str]) -> None:
    """A choice of the kind of account is read, with a way to choose either; any other choice is ignored."""
    seen = read(*switch, *FORM)
    assert (seen.paper, dict(seen.ways), seen.refused) == (paper, ways, "")


@pytest.mark.parametrize(
    ("controls", "seen"),
    [
        ([USER, SECRET, control(4, "password"), SEND], "two fields for a password"),
        ([USER, SECRET, SEND, control(4, "password", scope=2)], "two fields for a password"),
        ([USER, control(2, "password", autocomplete="new-password"), SEND], "a new password"),
        ([USER, control(2, "password", ours=False), SEND], "another origin"),
        ([USER, SECRET, control(3, "submit", ours=False)], "another origin"),
        ([control(1, "text"), control(4, "text"), SECRET, SEND], "2 fields before the one for the password"),
        ([USER, control(4, "text", "User of the adviser"), SECRET, SEND], "2 fields for a username"),
        (
            [USER, control(4, "text", "Branch", required=True), SECRET, SEND],
            "a required field that gwctl does not know",
        ),
        (
            [USER, control(4, "text", "Security code", required=True), SECRET, SEND],
            "a required field that gwctl does not know",
        ),
        (
            [USER, control(4, "switch", "I agree", required=True, on=False), SECRET, SEND],
            "a required field that gwctl does not know",
        ),
        (
            [USER, SECRET, control(4, "text", "Characters in the picture"), SEND],
            "a required field that gwctl does not know",
        ),
        (
            [USER, SECRET, control(4, "text", autocomplete="one-time-code"), SEND],
            "a required field that gwctl does not know",
        ),
        ([USER, SECRET], "no button"),
        ([USER, SECRET, control(3, "submit", "Forgot password?")], "no button"),
        ([USER, SECRET, SEND, control(4, "submit", "Log in to TWS")], "2 buttons"),
        ([USER, SECRET, control(3, "button", "A"), control(4, "button", "B")], "2 buttons"),
        ([control(9, "switch", "Live or paper", on=True), *FORM], "does not say which of them is on"),
        ([control(9, "switch", "Paper", on=None), *FORM], "does not say whether it is on"),
        (
            [control(8, "switch", "Paper", on=True), control(9, "switch", "Live", on=True), *FORM],
            "more than one choice",
        ),
        (
            [control(8, "choice", "Live", group="g"), control(9, "choice", "Paper", group="g"), *FORM],
            "does not say which",
        ),
        (
            [control(8, "choice", "Demo", on=True, group="g"), control(9, "choice", "Paper", group="g"), *FORM],
            "one reading",
        ),
    ],
)
def test_two_readings_are_none(controls: list[Control], seen: str) -> None:
    """Where a person would not be sure, there is nothing to fill or click, and the text says what was seen."""
    read_ = read(*controls)
    assert seen in read_.refused
    assert (read_.elements, read_.ways) == ({}, {})


UNKNOWN_NAMES = ["", "Konto A", "Trainingsmodus", "Acme+", "Account type", "模式", "Режим", "Modus"]
KNOWN_NAMES = [
    *("Remember me", "Keep me signed in", "Stay signed in", "Angemeldet bleiben", "Se souvenir de moi", "Ricordami"),
    *("Recordarme", "Mantener la sesión iniciada", "Lembrar-me", "ログイン状態を保持する", "记住我", "記住我"),
    *("Запомнить меня", "זכור אותי", "تذكرني", "Emlékezz rám", "Onthoud mij", "로그인 상태 유지", "Husk meg"),
    *("Show password", "Passwort anzeigen", "Afficher le mot de passe", "Dark mode", "English", "DE", "zh-TW"),
    *("I agree to the terms", "This is a private computer", "Trust this device", "Go paperless"),
]
PLACES = ["above", "before", "between", "after"]


def with_choice(place: str, choice: list[Control]) -> tuple[Control, ...]:
    """Return a form with a choice somewhere in or above it."""
    at = {"above": 0, "before": 0, "between": 1, "after": 2}[place]
    scope = 9 if place == "above" else 1
    moved = [control(one.n, one.kind, one.name, on=one.on, group="g", toggle=one.toggle, scope=scope) for one in choice]
    return (*FORM[:at], *moved, *FORM[at:])


@given(st.sampled_from(PLACES), st.sampled_from(UNKNOWN_NAMES), st.sampled_from(UNKNOWN_NAMES), st.sampled_from("tbp"))
def test_a_choice_whose_name_says_nothing_stops(place: str, name: str, other: str, made: str) -> None:
    """A toggle, box or pair in or above the form may be the one for paper or live, unless it is a box at the end."""
    choice = {
        "t": [control(8, "switch", name, on=False, toggle=True)],
        "b": [control(8, "switch", name, on=False)],
        "p": [control(8, "choice", name, on=True), control(9, "choice", other, on=False)],
    }[made]
    seen = read(*with_choice(place, choice))
    if made == "b" and place == "after":
        assert (seen.refused, places(seen)) == ("", {"username": 1, "password": 2, "submit": 3})
    else:
        assert "may be the one for paper or live" in seen.refused


@given(
    place=st.sampled_from(PLACES),
    name=st.sampled_from(KNOWN_NAMES),
    other=st.sampled_from(UNKNOWN_NAMES),
    toggle=st.booleans(),
)
def test_a_choice_of_something_else_does_not_stop(*, place: str, name: str, other: str, toggle: bool) -> None:
    """No other choice is taken for the one between paper and live: remember me, show password, a language."""
    box = [control(8, "switch", name, on=False, toggle=toggle)]
    assert read(*with_choice(place, box)).refused == ""
    pair = [control(8, "choice", name, on=True), control(9, "choice", other, on=False)]
    assert read(*with_choice(place, pair)).refused == ""


@given(st.sampled_from(PAPER), st.sampled_from(UNKNOWN_NAMES), st.sampled_from(PLACES))
def test_a_choice_that_is_known_is_read_beside_one_that_is_not(paper: str, other: str, place: str) -> None:
    """If the switch between paper and live is found, another one does not matter."""
    beside = with_choice(place, [control(8, "switch", other, on=False, toggle=True)])
    seen = read(control(20, "switch", paper, on=True), *beside)
    assert (seen.refused, seen.paper) == ("", True)


def test_a_known_paper_switch_is_the_only_one() -> None:
    """On a page with the known switch, another switch does not stop an unknown form."""
    nameless = with_choice("above", [control(8, "switch", "", on=False, toggle=True)])
    assert "may be the one" in read(*nameless).refused
    assert read(*nameless, has_switch=True).refused == ""


def test_decoys_are_left_alone() -> None:
    """A field to search, to subscribe, or of another form is not the username; nor is one that accepts no text."""
    search = control(5, "text", "Search", scope=1)
    letter = control(6, "text", "Your e-mail for our newsletter", scope=4)
    fixed = control(7, "text", "User", fixed=True)
    assert places(read(letter, search, fixed, *FORM)) == {"username": 1, "password": 2, "submit": 3}
    assert places(read(letter, search)) == {}


def test_a_page_of_another_origin_is_not_read() -> None:
    """Recognition works only on the origin that was opened."""
    seen = read(*FORM, foreign=True)
    assert (seen.elements, seen.refused) == ({}, "a page that is not on the gateway's origin")


@pytest.mark.parametrize(
    ("field", "text", "kind"),
    [
        (control(1, "text", "Code sent by SMS"), "", "sms"),
        (control(1, "text", autocomplete="one-time-code"), "Open your authenticator app", "app"),
        (control(1, "text", "Código de seguridad"), "Enviado a su correo", "email"),
        (control(1, "password", "認証コード"), "", ""),
        (control(1, "text", "Security code"), "by SMS or e-mail", ""),
        (control(1, "text", numeric=True, length=6), "", ""),
    ],
)
def test_a_code_is_asked_for(field: Control, text: str, kind: str) -> None:
    """A code's field is recognized by its name, by its attributes for browsers, or by what it accepts."""
    seen = read(field, control(2, "submit", "OK"), text=text)
    assert (places(seen), seen.kind_of_code) == ({"code": 1, "submit": 2}, kind)


def test_boxes_are_one_code() -> None:
    """Boxes for one character each are filled one by one; three are no code."""
    boxes = [control(n, "text", length=1, numeric=True) for n in range(1, 7)]
    assert read(*boxes).boxes == tuple(f"#{n}" for n in range(1, 7))
    assert read(*boxes[:3]).boxes == ()


@pytest.mark.parametrize("kind", ["choice", "option", "button", "card"])
def test_devices_are_what_is_called_like_one(kind: str) -> None:
    """Two clickable things with the names of devices are a choice of devices; links that only sound similar are not."""
    devices = [control(1, kind, "IB Key"), control(2, kind, "SMS to ***12")]
    assert read(*devices).devices == (("#1", "IB Key"), ("#2", "SMS to ***12"))
    assert read(control(1, "card", "E-mail us"), control(2, "card", "Voice of our clients")).devices == ()
    assert read(*devices, *FORM).devices == ()


def test_one_device_is_a_choice_where_the_page_says_so() -> None:
    """An account with a single device is still asked for it; a link that leads elsewhere is no device."""
    device = control(1, "card", "IB Key (iPhone)")
    assert recognize(Collected((device,), text="Select Second Factor Device")).devices == (("#1", "IB Key (iPhone)"),)
    assert recognize(Collected((device,), text="Approve the login on your phone")).devices == ()
    only = control(1, "select", options=(("", "Select", True), ("9", "Passkey", False)))
    assert [label for _, label in read(only).devices] == ["Passkey"]


def test_known_elements_stay() -> None:
    """Elements of a known version are not replaced: recognition only adds missing ones."""
    collected = {
        "controls": [
            {name: getattr(one, name) for name in Control.__struct_fields__} | {"options": []}
            for one in FORM
        ],
        "alerts": "", "text": "", "success": False, "foreign": False,
    }  # fmt: skip
    look = PageState.from_script({"visible": {"username": "[name=username]"}, "form": 7, "collected": collected})
    assert look.visible == {"username": "[name=username]", "password": "#2", "submit": "#3"}
    assert (look.form, look.shows(Element.SUBMIT), look.submit_ready) == (7, True, True)


NAMES = st.sampled_from(
    ["", "Username", "Password", "Code", "Paper", "Live", "Search", "Log in", "SMS", "IB Key", "Éles"]
)
KINDS = st.sampled_from(
    ["text", "password", "search", "submit", "button", "switch", "choice", "option", "select", "card"]
)
CONTROLS = st.builds(
    lambda kind, name, **values: (kind, name, values),
    KINDS,
    NAMES,
    autocomplete=st.sampled_from(["", "username", "current-password", "one-time-code", "new-password"]),
    scope=st.integers(1, 2),
    group=st.sampled_from("ab"),
    ours=st.booleans(),
    on=st.none() | st.booleans(),
    length=st.sampled_from([0, 1, 6]),
    numeric=st.booleans(),
    required=st.booleans(),
    fixed=st.booleans(),
)


@given(st.lists(CONTROLS, max_size=9))
def test_whatever_is_on_a_page_a_password_goes_into_the_only_field_for_one(drawn: list[Any]) -> None:
    """The safeguards hold for every page: one password, the right origin, and never a reading next to a refusal."""
    controls = [control(n, kind, name, **values) for n, (kind, name, values) in enumerate(drawn)]
    seen = read(*controls)
    password = seen.elements.get(Element.PASSWORD)
    if password is not None:
        assert [
            one for one in controls if one.kind == "password" and "code" not in one.autocomplete + one.name.lower()
        ] == [password]
        assert password.ours
        assert seen.elements[Element.SUBMIT].ours
    assert not (seen.refused and (seen.elements or seen.ways or seen.devices))
    assert set(seen.ways) in (set(), {"paper", "live"})
