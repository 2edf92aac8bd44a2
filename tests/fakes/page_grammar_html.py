# ruff: noqa: E501 - HTML is read by the line
"""Renders a spec of the page grammar: its HTML here, its behavior in ``page_grammar.js``."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

from page_grammar import DEVICES, PASSKEY, STUCK_TEXTS, Spec

SCRIPT = (Path(__file__).parent / "page_grammar.js").read_text()
CHANNELS = {"text": "Text message", "voice": "Voice call", "email": "Email"}

# Username, password, the button; then two names for paper, and two for live.
_WORDS = {
    "en": ("Username", "Password", "Log In", ("Paper Trading", "Simulated"), ("Live", "Live Trading")),
    "de": ("Benutzername", "Passwort", "Anmelden", ("Simuliertes Konto", "Paper-Trading"), ("Live", "Echtes Konto")),
    "fr": ("Nom d'utilisateur", "Mot de passe", "Connexion", ("Compte simulé", "Simulation"), ("Réel", "Compte réel")),
    "es": ("Nombre de usuario", "Contraseña", "Iniciar sesión", ("Cuenta simulada", "Demo"), ("Real", "Cuenta real")),
    "it": ("Nome utente", "Password", "Accedi", ("Conto simulato", "Paper Trading"), ("Reale", "Conto reale")),
    "pt": ("Nome de usuário", "Senha", "Entrar", ("Conta simulada", "Simulado"), ("Real", "Conta real")),
    "ja": ("ユーザー名", "パスワード", "ログイン", ("ペーパートレード", "デモ口座"), ("ライブ", "本番口座")),
    "zh": ("用户名", "密码", "登录", ("模拟账户", "模拟交易"), ("真实账户", "实盘")),
    "zh-TW": ("使用者名稱", "密碼", "登入", ("模擬帳戶", "模擬交易"), ("真實帳戶", "實盤")),
    "ru": ("Имя пользователя", "Пароль", "Войти", ("Демо-счет", "Симулированная торговля"), ("Реальный", "Live")),
}

_STYLE = """body { font: 14px sans-serif; margin: 2em; } label, input, button, select { display: block; margin: .4em 0; }
[hidden], #toggle1 { display: none; } .none { display: none; } .off { position: absolute; left: -9999px; }
.over { position: fixed; inset: 0; z-index: 20; background: #fffc; } .opt { cursor: pointer; }
[role=tab], [role=button], [role=switch] { display: inline-block; padding: .4em; border: 1px solid #888; }"""


def page(spec: Spec, state: dict[str, Any], *, inner: bool = False) -> str:
    """Return the document in ``state``: temperament, and the last answer for a page that is posted as a document."""
    if spec.markup.inside == "frame" and not inner:
        return (
            f"<!DOCTYPE html><meta charset=utf-8><title>Portal</title><style>{_STYLE}</style><h1>Portal</h1>"
            '<iframe src="/sso/inner" style="width:100%;height:800px"></iframe>'
        )
    config = {
        "inside": spec.markup.inside,
        "lang": spec.markup.language,
        "page": _page(spec),
        "fields": _fields(spec),
        "panels": _panels(spec),
        "lazy": spec.markup.lazy,
        "two_step": spec.markup.version == "two-step",
        "username_stays": spec.markup.username_stays,
        "switch": spec.switch.kind,
        "mode": spec.switch.at_first,
        "clears": spec.switch.clears,
        "click_lost": spec.switch.first_click_lost,
        "form_after_ms": spec.load.form_after_ms,
        "never": spec.load.never,
        "empties_after_ms": spec.load.empties_after_ms,
        "press_empties": spec.load.first_press_empties,
        "disabled_ms": spec.load.disabled_ms,
        "disabled_while_empty": spec.load.disabled_while_empty,
        "cover": _cover(spec),
        "cover_returns": spec.load.cover == "cookie returns",
        "cover_goes_ms": 1500 if spec.load.cover == "banner goes" else 0,
        "announces_after_ms": spec.load.announces_after_ms,
        "telemetry": spec.wire.telemetry,
        "transport": spec.wire.transport,
        "button_needed": spec.factor.list_needs_button,
        "enter_sends": spec.factor.enter_sends,
        "push_ms": spec.factor.push_ms,
        **state,
    }
    script = SCRIPT.replace('"@@CONFIG@@"', json.dumps(config).replace("</", "<\\/"))
    return (
        f'<!DOCTYPE html><html lang="{spec.markup.language}"><meta charset=utf-8><title>Login</title>'
        f'<style>{_STYLE}</style><body><div id="app"></div><script>{script}</script></body></html>'
    )


def demo(port: int) -> str:
    """Return the page whose script calls the API."""
    return (
        f'<body>demo<script>fetch("https://localhost:{port}/v1/api/portfolio/accounts").catch(() => 0)</script></body>'
    )


def _page(spec: Spec) -> str:
    decoys = spec.markup.decoys
    search = '<form role="search"><input type="search" name="q" placeholder="Search" data-d="search"></form>'
    newsletter = '<form><input type="email" name="mail" placeholder="Newsletter" data-d="newsletter"><button type="button">OK</button></form>'
    panels = "" if spec.markup.lazy else "".join(_panels(spec).values())
    inside = f'{_switch(spec)}<div data-r="error"></div><div data-r="fields"></div>'
    if spec.markup.version == "legacy":
        inside = f'<form id="login-form" autocomplete="off">{inside}</form>'
    return (
        f'{search if "search" in decoys else ""}<div class="gstat" data-r="banner" hidden></div>'
        f'<section data-p="password">{inside}</section>'
        f'<div data-r="steps">{panels}</div>{newsletter if "newsletter" in decoys else ""}'
    )


def _fields(spec: Spec) -> str:
    decoys = spec.markup.decoys
    hidden = '<input name="account" class="none" data-d="hidden">' if "hidden" in decoys else ""
    trap = '<input name="website" class="off" tabindex="-1" aria-hidden="true" data-d="offscreen">'
    between = hidden + (trap if "offscreen" in decoys else "")
    remember = '<label><input type="checkbox" data-d="remember"> Remember me</label>' if "remember" in decoys else ""
    second = '<input type="password" data-d="second">' if spec.markup.two_passwords else ""
    made = {"current": _current, "two-step": _two_step, "legacy": _legacy, "unknown": _unknown}
    return made[spec.markup.version](spec, between, second + remember)


def _current(spec: Spec, between: str, after: str) -> str:
    user, secret = ("xyz-field-username", "xyz-field-password") if spec.markup.by == "id" else ("u1", "p1")
    return f"""<form class="xyzform-username" autocomplete="off">
    <label for="{user}">Username</label><input id="{user}" name="username" data-r="u">{between}
    <label for="{secret}">Password</label><input id="{secret}" name="password" type="password" data-r="p">{after}
    <button type="submit" class="xyz-button-login" data-r="b">Login</button></form>"""


def _two_step(spec: Spec, between: str, after: str) -> str:
    user, secret = ("xyz-field-username", "xyz-field-password") if spec.markup.by == "id" else ("u1", "p1")
    return f"""<form class="xyzform-username" autocomplete="off">
    <div data-r="first"><label for="{user}">Username</label><input id="{user}" name="username" data-r="u"></div>
    <div class="xyzblock-username-submit" data-r="go"><button type="button" data-r="c">Continue</button></div>
    <div data-r="second" hidden>{between}<label for="{secret}">Password</label>
    <input id="{secret}" name="password" type="password" data-r="p">{after}
    <button type="submit" class="xyz-button-login" data-r="b">Login</button></div></form>"""


def _legacy(_spec: Spec, between: str, after: str) -> str:
    return f"""<label for="user_name">Username</label><input id="user_name" name="user_name" data-r="u">{between}
    <label for="password">Password</label><input id="password" name="password" type="password" data-r="p">{after}
    <button type="submit" id="submitForm" data-r="b">Login</button>"""


def _unknown(spec: Spec, between: str, after: str) -> str:
    user, secret, go, _, _ = _WORDS[spec.markup.language]
    made = (
        _field(spec.markup.by, "f1", user, 'type="text" data-r="u"', "username")
        + between
        + _field(spec.markup.by, "f2", secret, 'type="password" data-r="p"', "current-password")
        + after
    )
    in_form = spec.markup.in_form
    made += {
        "submit": f'<button type="{"submit" if in_form else "button"}" data-r="b">{go}</button>',
        "button": f'<button type="button" data-r="b">{go}</button>',
        "input": f'<input type="{"submit" if in_form else "button"}" value="{go}" data-r="b">',
        "role": f'<div role="button" tabindex="0" data-r="b">{go}</div>',
    }[spec.markup.button]
    return f"<form>{made}</form>" if in_form else f"<div>{made}</div>"


def _field(by: str, name: str, label: str, attributes: str, autocomplete: str) -> str:
    label = html.escape(label)
    match by:
        case "autocomplete":
            return f'<input id="{name}" autocomplete="{autocomplete}" {attributes}>'
        case "label":
            return f'<label for="{name}">{label}</label><input id="{name}" {attributes}>'
        case "wrap":
            return f"<label>{label} <input {attributes}></label>"
        case "aria":
            return f'<input aria-label="{label}" {attributes}>'
        case _:
            return f'<input placeholder="{label}" {attributes}>'


def _switch(spec: Spec) -> str:
    _, _, _, papers, lives = _WORDS[spec.markup.language]
    paper, live = papers[spec.switch.name], lives[spec.switch.name]
    legacy = spec.markup.version == "legacy"
    name = 'id="paperSwitch" name="paperSwitch"' if legacy else 'name="paperSwitch"'
    label_for = "paperSwitch" if legacy else "toggle1"
    ident = name if legacy else f'id="toggle1" {name}'
    on = spec.switch.at_first == "paper"
    checked = "checked" if on else ""
    made = {
        "none": "",
        "toggle": f'<input type="checkbox" {ident} data-m {checked}><label for="{label_for}">Paper</label>',
        "wrapped": f'<label class="knob"><input type="checkbox" {name} class="none" data-m {checked}><b>Paper</b></label>',
        "bare": f'<input type="checkbox" {name} data-m {checked}><span>Paper</span>',
        "checkbox": f'<label><input type="checkbox" data-m {checked}> {paper}</label>',
        "switch": f'<button type="button" role="switch" aria-checked="{str(on).lower()}" data-mb>{paper}</button>',
        "radio": "<fieldset>"
        + "".join(
            f'<label><input type="radio" name="kind" value="{value}" data-mr {"checked" if chosen else ""}> {text}</label>'
            for value, text, chosen in (("live", live, not on), ("paper", paper, on))
        )
        + "</fieldset>",
        "tab": '<div role="tablist">'
        + "".join(
            f'<button type="button" role="tab" aria-selected="{str(chosen).lower()}" data-mt="{value}">{text}</button>'
            for value, text, chosen in (("live", live, not on), ("paper", paper, on))
        )
        + "</div>",
        "select": f'<select aria-label="{live} / {paper}" data-ms><option value="l" {"" if on else "selected"}>{live}</option>'
        f'<option value="p" {"selected" if on else ""}>{paper}</option></select>',
    }
    return made[spec.switch.kind]


def _cover(spec: Spec) -> str:
    match spec.load.cover:
        case "cookie" | "cookie returns":
            return (
                '<div id="cookie-modal" class="over" role="dialog"><div class="modal-backdrop"></div><p>We use cookies.</p>'
                '<button type="button" id="gdpr-reject-all" data-close>Reject All Cookies</button>'
                '<button type="button" id="btn_accept_cookies" data-close>Accept Cookies</button></div>'
            )
        case "cover":
            return '<div id="cookie-modal" class="over">We use cookies.</div>'
        case "banner":
            return (
                '<div class="promo over"><p>Try our new app!</p><button type="button" data-close>Close</button></div>'
            )
        case "banner goes":
            return '<div class="splash over"><p>Welcome to our new look</p></div>'
        case _:
            return ""


def _panels(spec: Spec) -> dict[str, str]:
    bodies = {
        "devices": _devices(spec),
        "channel": _channel(),
        "code": _code(spec),
        "push": _push(spec),
        "passkey": _passkey(spec),
        "offer": _offer(spec),
        **{name: f"<p>{text}</p>" for name, text in STUCK_TEXTS.items()},
    }
    return {name: f'<section data-p="{name}" hidden>{body}</section>' for name, body in bodies.items() if body}


def _devices(spec: Spec) -> str:
    if not spec.factor.devices:
        return ""
    offered = [{**DEVICES, "passkey": PASSKEY}[one] for one in spec.factor.devices]
    options = "".join(f'<option value="{value}">{label}</option>' for value, label in offered)
    known = {"legacy": 'id="sf_select"', "unknown": 'id="f7"'}.get(spec.markup.version, 'class="xyz-multipleselect"')
    needs = spec.factor.list_needs_button
    button = f'<button type="button" {_button(spec)} data-r="db">Continue</button>' if needs else ""
    hide = "" if spec.factor.list_as == "select" else 'style="display:none" tabindex="-1" aria-hidden="true"'
    select = (
        f'<select {known} data-r="ds" {hide}><option value="">Select Second Factor Device</option>{options}</select>'
    )
    made = {
        "select": select,
        "divs": select
        + "".join(f'<div class="opt" tabindex="0" data-v="{value}">{label}</div>' for value, label in offered),
        "cards": select
        + "".join(f'<button type="button" class="card" data-v="{value}">{label}</button>' for value, label in offered),
        "options": f'{select}<div role="listbox" aria-label="Select Second Factor Device">'
        + "".join(f'<div role="option" tabindex="0" data-v="{value}">{label}</div>' for value, label in offered)
        + "</div>",
    }[spec.factor.list_as]
    outer = {"legacy": "form-group", "unknown": ""}.get(spec.markup.version, "xyzblock-multiplesf")
    return f'<div class="{outer}"><p>Select Second Factor Device</p>{made}{button}</div>'


def _button(spec: Spec) -> str:
    return {"legacy": 'id="submitForm"', "unknown": ""}.get(spec.markup.version, 'class="xyz-button-login"')


def _channel() -> str:
    ways = "".join(
        f'<button type="button" class="xyz-otp-select-{name}" data-ch="{name}">{label}</button>'
        for name, label in CHANNELS.items()
    )
    return (
        f'<div class="xyzblock-otpselector"><p>How do you want to receive the code?</p>{ways}'
        '<button type="button" class="xyz-otp-cancel" data-ch="cancel">Cancel</button></div>'
    )


def _code(spec: Spec) -> str:
    if spec.factor.kind not in {"app", "sms"}:
        return ""
    legacy = spec.markup.version == "legacy"
    known = (
        '<input id="chlginput" maxlength="8" data-k>'
        if legacy
        else '<input id="xyz-field-silver-response" maxlength="8" data-k>'
    )
    box = '<input maxlength="1" inputmode="numeric" class="box" aria-label="Digit {}" data-k>'
    made = {
        "known": known,
        "numeric": '<input inputmode="numeric" maxlength="6" data-k>',
        "otp": '<input autocomplete="one-time-code" data-k>',
        "placeholder": '<input placeholder="Enter security code" data-k>',
        "label": '<label for="k1">Security code</label><input id="k1" data-k>',
        "boxes": "".join(box.format(n) for n in range(1, 7)),
    }[spec.factor.field]
    kind = "submit" if spec.factor.enter_sends else "button"
    button = f'<button type="{kind}" {_button(spec)} data-r="kb">Continue</button>'
    tag = "form" if spec.factor.enter_sends else "div"
    outer = 'id="twofactbase"' if legacy else 'class="xyzform-silver"'
    return f'<{tag} {outer}><p>Security code</p><div data-r="code-error"></div>{made}{button}</{tag}>'


def _push(spec: Spec) -> str:
    is_new = spec.markup.version == "unknown"
    outer = {"legacy": "login-step-notification", "unknown": ""}.get(spec.markup.version, "xyzblock-notification")
    resend = "" if is_new else "xyz-resendnotification"
    return (
        f'<div class="{outer}"><p>A notification was sent to your device. Approve it there.</p>'
        f'<a href="#" class="{resend}" data-resend>Resend</a></div>'
    )


def _passkey(spec: Spec) -> str:
    known = "" if spec.markup.version == "unknown" else "xyzform-fido"
    return f'<form class="{known}"><p>Log in with your passkey</p><button type="button">Use a passkey</button></form>'


def _offer(spec: Spec) -> str:
    if spec.offer is None:
        return ""
    known = {"legacy": ""}.get(spec.markup.version, "xyzblock-enablepush") if spec.offer.look == "known" else "promo"
    way = 'class="ibkey-promo-skip"' if spec.markup.version == "legacy" and spec.offer.look == "known" else ""
    return (
        f'<div class="{known}"><p>Log in faster with notifications on your phone.</p>'
        f'<button type="button">Enable</button><button type="button" {way} data-skip>{spec.offer.way}</button></div>'
    )
