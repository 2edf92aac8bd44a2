"""``/sso/*``: the login page, its rounds and the Dispatcher."""

from __future__ import annotations

import html
import json
import urllib.parse
from dataclasses import asdict
from email.utils import formatdate
from functools import cache

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from gwctl.errors import Configuration
from gwctl.sandbox.account_settings import PAGE_VARIANTS, fixture
from gwctl.sandbox.fake_ibkr import GATEWAY_COOKIE, StandIn

PLACE_OF_FLAGS = '"@@FLAGS@@"'
PLACE_OF_SCRIPT = '"@@SCRIPT@@";\n'


def page_text(variant: str) -> str:
    """Return the text of one variant of the login page; raise Configuration if there is none of this name."""
    if variant not in PAGE_VARIANTS:
        raise Configuration(f"no login page is called {variant!r}")
    return _with_script(variant)


@cache
def _with_script(name: str) -> str:
    """Return one of the pages in ``fixtures/login`` with the script that they share."""
    script = fixture("login/page.js").read_text(encoding="utf-8")
    return fixture(f"login/{name}.html").read_text(encoding="utf-8").replace(PLACE_OF_SCRIPT, script)


def sso_routes(stand_in: StandIn) -> list[Route]:
    """Return the routes of IBKR's single sign-on."""

    async def login_page(request: Request) -> Response:
        gateway = stand_in.meet(request.cookies)
        response = HTMLResponse(_render(stand_in, gateway))
        # A gateway keeps both in its own jar: JSESSIONID for /sso alone, the other for every later upstream call.
        response.set_cookie("JSESSIONID", f"{gateway}.sso", path="/sso", httponly=True)
        response.set_cookie(GATEWAY_COOKIE, gateway, path="/", httponly=True)
        response.headers.update(_date(stand_in))
        return response

    async def email_page(_request: Request) -> Response:
        return HTMLResponse(_with_flags(_with_script("restricted"), _flags(stand_in)))

    async def authenticator(request: Request) -> Response:
        if request.method == "GET":
            return JSONResponse({"result": "OK"})
        fields = urllib.parse.parse_qs((await request.body()).decode("utf-8", "replace"), keep_blank_values=True)
        answer = stand_in.desk.answer({key: values[0] for key, values in fields.items()})
        return JSONResponse(answer, headers=_date(stand_in))

    async def dispatcher(request: Request) -> Response:
        if not stand_in.dispatch(request.cookies):
            # Not a redirect: the gateway takes every 302 of the Dispatcher for a login that has succeeded.
            return await login_page(request)
        return Response(status_code=302, headers={"Location": "/sso/Redirect"})

    async def ping(request: Request) -> Response:
        alive = stand_in.session_of(request.cookies) is not None
        return PlainTextResponse("", status_code=200 if alive else 401)

    return [
        Route("/sso/Login", login_page),
        Route("/sso/restricted/", email_page),
        Route("/sso/Authenticator", authenticator, methods=["GET", "POST"]),
        Route("/sso/Dispatcher", dispatcher),
        Route("/sso/ping", ping),
    ]


def _date(stand_in: StandIn) -> dict[str, str]:
    """Return IBKR's clock, by which codes are made where this machine's is wrong."""
    return {"Date": formatdate(stand_in.wall_clock(), usegmt=True)}


def _render(stand_in: StandIn, gateway: str) -> str:
    banner = stand_in.scenarios.get("maintenance_banner")
    flags = {
        **_flags(stand_in),
        "form_never": not stand_in.form_comes(gateway),
        "swallow": stand_in.swallows(gateway),
        "temper": stand_in.temper(),
        "banner": None if banner is None else html.escape(str(banner["text"])),
    }
    return _with_flags(page_text(stand_in.page().variant), flags)


def _flags(stand_in: StandIn) -> dict[str, object]:
    """Return what the pages' script is told, for a page whose form comes and works."""
    return {**asdict(stand_in.page()), "form_never": False, "swallow": False, "temper": "", "banner": None}


def _with_flags(text: str, flags: dict[str, object]) -> str:
    return text.replace(PLACE_OF_FLAGS, json.dumps(flags).replace("<", "\\u003c"))
