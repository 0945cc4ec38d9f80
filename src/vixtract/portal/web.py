"""What all routes share: the person, the language, and how a page is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qs, unquote, urlencode
from zoneinfo import ZoneInfo

from fastapi import Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from vixtract.language import COOKIE as LANGUAGE_COOKIE
from vixtract.language import Language, choose_language, load_languages
from vixtract.portal.config import PREFIX, PortalConfig
from vixtract.portal.errors import ForbiddenError, LoginError
from vixtract.portal.identity import SESSION_COOKIE, HubLogin, User, read_authorization
from vixtract.portal.labels import make_labels
from vixtract.portal.scheduler_access import SchedulerAccess
from vixtract.portal.timing_choice import describe_timing
from vixtract.scheduler.timing import TimingError, get_zone

ZONE_COOKIE = "vixtract_zone"
FORM_TOKEN = "form_token"  # noqa: S105 - name of a field
FORM_TOKEN_HEADER = "X-Form-Token"  # noqa: S105 - name of a header


class Pages:
    """Templates, one set for each language."""

    def __init__(self, config: PortalConfig) -> None:
        self.config = config
        self.languages = load_languages(config.locale)
        self._environments = {
            code: _make_environment(config, language) for code, language in self.languages.items()
        }

    def render(self, language: Language, name: str, values: Mapping[str, Any]) -> str:
        """Return the text of a template that is filled in."""
        return self._environments[language.code].get_template(name).render(values)


def _make_environment(config: PortalConfig, language: Language) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(config.files / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    texts = language.texts
    # Adds the functions of the i18n extension, which Jinja's types do not know.
    environment.install_gettext_callables(  # type: ignore[attr-defined]
        texts.gettext, texts.ngettext, newstyle=True
    )
    environment.globals.update(
        base=config.base_url,
        prefix=PREFIX,
        language=language,
        static=_make_static_link(config.files / "static", "static"),
        asset=_make_static_link(config.assets, "assets"),
        default_zone=config.timezone,
        **make_labels(language),
        words=lambda timing: describe_timing(timing, language),
        moment=language.moment,
        duration=language.duration,
        viewed=lambda when, zone: when.astimezone(zone) if when else None,
    )
    return environment


def _make_static_link(folder: Path, path: str) -> Callable[[str], str]:
    """Return a function that gives a static file's address, with its age against old caches."""

    def link(name: str) -> str:
        return f"{PREFIX}/{path}/{name}?{int((folder / name).stat().st_mtime)}"

    return link


def now() -> datetime:
    """Return the present moment, aware."""
    return datetime.now(timezone.utc)


def get_pages(request: Request) -> Pages:
    """Return the process's templates."""
    pages: Pages = request.app.state.pages
    return pages


def get_hub(request: Request) -> HubLogin:
    """Return the process's client of the Hub."""
    hub: HubLogin = request.app.state.hub
    return hub


def get_language(request: Request) -> Language:
    """Return the person's language."""
    cookie = request.cookies.get(LANGUAGE_COOKIE)
    accepted = request.headers.get("accept-language", "")
    return choose_language(cookie, accepted, get_pages(request).languages)


async def get_person(request: Request) -> User:
    """Return who is signed in.

    Raises:
        LoginError: no one is signed in.
    """
    header = request.headers.get("authorization", "")
    token = read_authorization(header) if header else request.cookies.get(SESSION_COOKIE, "")
    person = await get_hub(request).find_person(token, by_cookie=not header)
    if person is None:
        raise LoginError("You are not signed in.", "Sign in and try again.")
    return person


async def get_changer(request: Request, person: Annotated[User, Depends(get_person)]) -> User:
    """Return who is signed in, for a request that changes something.

    Raises:
        ForbiddenError: the request did not come from a page of the portal.
    """
    # Browsers say where a request comes from; older ones and programs do not send this.
    site = request.headers.get("sec-fetch-site", "same-origin")
    if person.by_cookie:
        if site not in {"same-origin", "none"}:
            raise ForbiddenError(
                "This request came from another site.", "Use the portal's own pages."
            )
        given = request.headers.get(FORM_TOKEN_HEADER, "")
        person.check_form_token(given or (await read_form(request)).get(FORM_TOKEN, [""])[0])
    return person


async def read_form(request: Request) -> dict[str, list[str]]:
    """Return the fields of a form, empty for any other body; the app limits the size of bodies."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        return {}
    body = (await request.body()).decode("utf-8", "replace")
    try:
        return parse_qs(body, keep_blank_values=True, max_num_fields=200)
    except ValueError:
        return {}


def get_viewer_zone(request: Request) -> ZoneInfo:
    """Return the browser's time zone, or the appliance's own where it is not known."""
    fallback = get_pages(request).config.timezone
    try:
        return get_zone(unquote(request.cookies.get(ZONE_COOKIE, ""))[:100] or fallback)
    except TimingError:
        return get_zone(fallback)


PersonDep = Annotated[User, Depends(get_person)]
ChangerDep = Annotated[User, Depends(get_changer)]
LanguageDep = Annotated[Language, Depends(get_language)]
FormDep = Annotated[dict[str, list[str]], Depends(read_form)]


def get_access(request: Request, person: PersonDep) -> SchedulerAccess:
    """Return the scheduler with the rights of the person."""
    state = request.app.state
    return SchedulerAccess(state.client, person, state.pages.config.timezone)


def get_changing_access(request: Request, person: ChangerDep) -> SchedulerAccess:
    """Return the scheduler for a request that changes something."""
    return get_access(request, person)


AccessDep = Annotated[SchedulerAccess, Depends(get_access)]
ChangingAccessDep = Annotated[SchedulerAccess, Depends(get_changing_access)]


def make_page(
    request: Request, name: str, person: User | None, values: Mapping[str, Any], status: int = 200
) -> HTMLResponse:
    """Make a page."""
    language = get_language(request)
    common = {
        "person": person,
        "notice": request.query_params.get("notice", ""),
        "path": request.url.path,
        "viewer_zone": get_viewer_zone(request),
    }
    text = get_pages(request).render(language, name, {**common, **values})
    headers = {"Content-Language": language.code, "Cache-Control": "no-store"}
    return HTMLResponse(text, status, headers)


def go_to(path: str, **query: str) -> RedirectResponse:
    """Send the browser to a page of the portal after a change, so that a reload repeats nothing."""
    tail = f"?{urlencode(query)}" if query else ""
    return RedirectResponse(f"{PREFIX}{path}{tail}", 303)
