"""Connections to other systems: the list, the form of each kind, the Test button.

The portal keeps none of it: the vault does, which never tells a saved secret to the portal.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from vixtract.portal import connection_words as words
from vixtract.portal.errors import AwayError, FormError, NotFoundError, PortalError
from vixtract.portal.identity import User
from vixtract.portal.web import (
    LanguageDep,
    PersonDep,
    get_changer,
    get_language,
    get_pages,
    go_to,
    make_page,
    read_form,
)
from vixtract.vault import wire
from vixtract.vault.errors import NoVaultError
from vixtract.vault.kinds import KINDS

router = APIRouter(include_in_schema=False)
ChangerDep = Annotated[User, Depends(get_changer)]
ANSWER_S = 25.0
"""Longer than a test may take."""


async def ask(request: Request, person: User, **question: Any) -> dict[str, Any]:
    """Ask the vault for a person.

    Raises:
        NotFoundError: there is no such connection for this person.
        FormError: of words for what is wrong with fields.
        AwayError: the vault does not answer.
    """
    path = get_pages(request).config.vault
    whole = {"person": person.name, **question}
    try:
        answer = await run_in_threadpool(wire.ask, whole, path=path, timeout_s=ANSWER_S)
    except NoVaultError as error:
        raise AwayError("Connections cannot be looked at now.", "Try again.") from error
    if answer.get("problems"):
        raise FormError(answer["problems"])
    if answer.get("unknown"):
        raise NotFoundError("There is no such connection.")
    if answer.get("error"):
        raise PortalError("The connection cannot be kept or read.", str(answer["error"]))
    return answer


@router.get("/connections", response_class=HTMLResponse)
async def show_connections(request: Request, person: PersonDep) -> Response:
    """Show what the person may use."""
    return await _show_list(request, person, {})


async def _show_list(request: Request, person: User, tested: Mapping[int, Any]) -> Response:
    found = (await ask(request, person, do="list"))["connections"]
    for each in found:
        each["changed_at"] = _moment(each["changed_at"])
    values = {"connections": found, "kinds": KINDS, "tested": tested}
    return make_page(request, "connections.html", person, values)


@router.get("/connections/new", response_class=HTMLResponse)
async def show_new(request: Request, person: PersonDep, kind: str = "") -> Response:
    """Show the kinds to choose from, or the empty form of one."""
    if kind not in KINDS:
        return make_page(request, "connection_kinds.html", person, {"kinds": KINDS})
    return await _show_form(request, person, kind, 0)


@router.post("/connections/new", response_class=HTMLResponse)
async def create(request: Request, person: ChangerDep, language: LanguageDep) -> Response:
    """Keep a new connection, or test what stands in the form."""
    return await _take_form(request, person, 0)


@router.get("/connections/{number}", response_class=HTMLResponse)
async def show_connection(request: Request, person: PersonDep, number: int) -> Response:
    """Show the form of a connection; saved secrets are not in it."""
    return await _show_form(request, person, "", number)


@router.post("/connections/{number}", response_class=HTMLResponse)
async def change(request: Request, person: ChangerDep, number: int) -> Response:
    """Change a connection, or test what stands in the form."""
    return await _take_form(request, person, number)


@router.post("/connections/{number}/test")
async def test_saved(request: Request, person: ChangerDep, number: int) -> Response:
    """Try a connection as it is kept."""
    answer = await ask(request, person, do="test", id=number)
    result = words.describe_test(get_language(request), answer["test"])
    if _wants_json(request):
        return JSONResponse(result, headers={"Cache-Control": "no-store"})
    return await _show_list(request, person, {number: result})


@router.get("/connections/{number}/delete", response_class=HTMLResponse)
async def ask_delete(request: Request, person: PersonDep, number: int) -> Response:
    """Ask whether a connection is really to go."""
    found = (await ask(request, person, do="show", id=number))["connection"]
    return make_page(request, "connection_delete.html", person, {"connection": found})


@router.post("/connections/{number}/delete")
async def delete(request: Request, person: ChangerDep, number: int) -> RedirectResponse:
    """Delete a connection."""
    await ask(request, person, do="delete", id=number)
    return go_to("/connections", notice="connection_deleted")


async def _take_form(request: Request, person: User, number: int) -> Response:
    fields = {name: values[0] for name, values in (await read_form(request)).items()}
    language = get_language(request)
    kind = fields.get("kind", "")
    if kind not in KINDS:
        raise NotFoundError("There is no such kind of connection.")
    draft = _read_draft(kind, fields, number)
    result, problems = None, {}
    try:
        if fields.get("test"):
            answer = await ask(request, person, do="test", **draft)
            result = words.describe_test(language, answer["test"])
        else:
            await ask(request, person, do="save", **draft)
            return go_to("/connections", notice="saved")
    except FormError as error:
        problems = words.explain_problems(language, error.problems)
    if _wants_json(request):
        names = words.name_fields(language)
        texts = [f"{names.get(name, name)}: {text}" for name, text in problems.items()]
        body = result or {"ok": False, "text": " ".join(texts), "detail": ""}
        return JSONResponse(body, headers={"Cache-Control": "no-store"})
    given = {"fields": fields, "problems": problems, "result": result}
    return await _show_form(request, person, kind, number, given)


def _read_draft(kind: str, fields: Mapping[str, str], number: int) -> dict[str, Any]:
    """Return what the vault is to keep or to test.

    A secret field that is left empty keeps what is saved, unless its box says to forget it.
    """
    values = {field.name: fields.get(f"v-{field.name}", "") for field in KINDS[kind].fields}
    # Browsers send line ends as two characters; a key has one.
    values = {name: value.replace("\r\n", "\n") for name, value in values.items()}
    kept = [
        name
        for name in KINDS[kind].secrets
        if number and not values[name] and not fields.get(f"forget-{name}")
    ]
    # The list of owners is there for members of teams alone.
    owner = fields["owner"].partition(":")[::2] if fields.get("owner") else None
    return {
        "id": number, "name": fields.get("name", "").strip(), "kind": kind, "values": values,
        "kept": kept, "owner": owner,
    }  # fmt: skip


async def _show_form(
    request: Request, person: User, kind: str, number: int,
    given: Mapping[str, Any] | None = None,
) -> Response:  # fmt: skip
    """Show a form: empty, as it is kept, or as it was sent."""
    language, given = get_language(request), given or {}
    saved = (await ask(request, person, do="show", id=number))["connection"] if number else {}
    chosen = KINDS[kind or saved["kind"]]
    values = {field.name: field.default for field in chosen.fields}
    values |= saved.get("values", {}) if saved.get("kind") == chosen.name else {}
    sent = given.get("fields", {})
    values |= {
        field.name: sent[f"v-{field.name}"]
        for field in chosen.fields
        if f"v-{field.name}" in sent and not field.secret
    }
    for each in saved.get("changes", ()):
        each["at"] = _moment(each["at"])
    owner = saved.get("owner") or ["person", person.name]
    page = {
        "kind": chosen, "saved": saved, "values": values, "labels": words.name_fields(language),
        "helps": words.explain_fields(language, chosen.name),
        "choices": words.name_choices(language), "done": words.name_changes(language),
        "problems": given.get("problems", {}), "result": given.get("result"),
        "name": sent.get("name", saved.get("name", "")),
        "owners": (await ask(request, person, do="owners"))["owners"],
        "owner": sent.get("owner") or ":".join(owner),
    }  # fmt: skip
    status = 422 if page["problems"] else 200
    return make_page(request, "connection.html", person, page, status)


def _wants_json(request: Request) -> bool:
    return "application/json" in request.headers.get("accept", "")


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)
