"""Connections to other systems: the list, the form of each kind, the Test button.

The vault stores them, and never returns a saved secret to the portal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from vixtract.language import Language, mark
from vixtract.portal.errors import AwayError, FormError, NotFoundError, PortalError
from vixtract.portal.identity import User
from vixtract.portal.models import read_moment
from vixtract.portal.web import (
    ChangerDep,
    FormDep,
    PersonDep,
    get_language,
    get_pages,
    go_to,
    make_page,
)
from vixtract.vault import client
from vixtract.vault.errors import NoVaultError
from vixtract.vault.fields import PROBLEMS
from vixtract.vault.kind import Kind
from vixtract.vault.probe_results import RESULTS
from vixtract.vault.registry import KINDS

router = APIRouter(include_in_schema=False)
NO_STORE = {"Cache-Control": "no-store"}
ANSWER_S = 25.0
"""Longer than a test may take."""
_LABELS = {"name": mark("Name"), "owner": mark("Belongs to")}
# What the vault writes down of a connection's history.
_ACTIONS = {
    "made": mark("made it"),
    "changed": mark("changed it"),
    "deleted": mark("deleted it"),
    "handed over": mark("handed it over"),
}


def ask(request: Request, person: User, **question: Any) -> dict[str, Any]:
    """Ask the vault for a person; blocks.

    Raises:
        NotFoundError: the connection does not exist, or the person may not use it.
        FormError: has the code of each field's problem.
        AwayError: the vault does not answer.
    """
    path = get_pages(request).config.vault
    try:
        answer = client.ask({"person": person.name, **question}, path=path, timeout_s=ANSWER_S)
    except NoVaultError as error:
        raise AwayError("Connections cannot be read now.", "Try again.") from error
    if answer.get("problems"):
        raise FormError(answer["problems"])
    if answer.get("unknown"):
        raise NotFoundError("Connection not found.")
    if answer.get("error"):
        raise PortalError("The connection cannot be saved or read.", str(answer["error"]))
    return answer


@router.get("/connections", response_class=HTMLResponse)
def show_connections(request: Request, person: PersonDep) -> Response:
    """Show the connections that the person may use."""
    return _show_list(request, person, {})


def _show_list(request: Request, person: User, tested: Mapping[int, Any]) -> Response:
    found = ask(request, person, do="list")["connections"]
    for each in found:
        each["changed_at"] = read_moment(each["changed_at"])
    values = {"connections": found, "kinds": KINDS, "tested": tested}
    return make_page(request, "connections.html", person, values)


@router.get("/connections/new", response_class=HTMLResponse)
def show_new(request: Request, person: PersonDep, kind: str = "") -> Response:
    """Show the kinds to choose from, or the empty form of one."""
    if kind not in KINDS:
        return make_page(request, "connection_kinds.html", person, {"kinds": KINDS})
    return _show_form(request, person, kind, 0, {})


@router.post("/connections/new", response_class=HTMLResponse)
def create(request: Request, person: ChangerDep, typed: FormDep) -> Response:
    """Save a new connection, or test what is in the form."""
    return _take_form(request, person, 0, typed)


@router.get("/connections/{number}", response_class=HTMLResponse)
def show_connection(request: Request, person: PersonDep, number: int) -> Response:
    """Show the form of a connection; saved secrets are not in it."""
    return _show_form(request, person, "", number, {})


@router.post("/connections/{number}", response_class=HTMLResponse)
def change(request: Request, person: ChangerDep, number: int, typed: FormDep) -> Response:
    """Change a connection, or test what is in the form."""
    return _take_form(request, person, number, typed)


@router.post("/connections/{number}/test")
def test_saved(request: Request, person: ChangerDep, number: int) -> Response:
    """Test a connection as it is saved."""
    answer = ask(request, person, do="test", id=number)
    result = describe_test(get_language(request), answer["test"])
    if _wants_json(request):
        return JSONResponse(result, headers=NO_STORE)
    return _show_list(request, person, {number: result})


@router.get("/connections/{number}/delete", response_class=HTMLResponse)
def ask_delete(request: Request, person: PersonDep, number: int) -> Response:
    """Ask whether to delete a connection."""
    found = ask(request, person, do="show", id=number)["connection"]
    return make_page(request, "connection_delete.html", person, {"connection": found})


@router.post("/connections/{number}/delete")
def delete(request: Request, person: ChangerDep, number: int) -> RedirectResponse:
    """Delete a connection."""
    ask(request, person, do="delete", id=number)
    return go_to("/connections", notice="connection_deleted")


def _take_form(
    request: Request, person: User, number: int, typed: Mapping[str, Sequence[str]]
) -> Response:
    fields = {name: values[0] for name, values in typed.items()}
    language = get_language(request)
    kind = fields.get("kind", "")
    if kind not in KINDS:
        raise NotFoundError("Unknown kind of connection.")
    draft = _read_draft(kind, fields, number)
    result, problems = None, {}
    try:
        if not fields.get("test"):
            ask(request, person, do="save", **draft)
            return go_to("/connections", notice="saved")
        result = describe_test(language, ask(request, person, do="test", **draft)["test"])
    except FormError as error:
        problems = explain_problems(language, error.problems)
    if _wants_json(request):
        labels = _name_fields(language, KINDS[kind])
        texts = [f"{labels.get(name, name)}: {text}" for name, text in problems.items()]
        body = result or {"ok": False, "text": " ".join(texts), "detail": ""}
        return JSONResponse(body, headers=NO_STORE)
    given = {"fields": fields, "problems": problems, "result": result}
    return _show_form(request, person, kind, number, given)


def _read_draft(kind: str, fields: Mapping[str, str], number: int) -> dict[str, Any]:
    """Return the question that has the vault save or test a connection.

    A secret field that is left empty keeps its saved value, unless its box says to forget it.
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
        "id": number,
        "name": fields.get("name", "").strip(),
        "kind": kind,
        "values": values,
        "kept": kept,
        "owner": owner,
    }


def _show_form(
    request: Request, person: User, kind: str, number: int, given: Mapping[str, Any]
) -> Response:
    """Show a form: empty, with the saved values, or with the sent ones."""
    language = get_language(request)
    saved = (ask(request, person, do="show", id=number))["connection"] if number else {}
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
        each["at"] = read_moment(each["at"])
    owner = saved.get("owner") or ["person", person.name]
    page = {
        "kind": chosen,
        "saved": saved,
        "values": values,
        "labels": _name_fields(language, chosen),
        "done": {action: language.say(text) for action, text in _ACTIONS.items()},
        "problems": given.get("problems", {}),
        "result": given.get("result"),
        "name": sent.get("name", saved.get("name", "")),
        "owners": (ask(request, person, do="owners"))["owners"],
        "owner": sent.get("owner") or ":".join(owner),
    }
    status = 422 if page["problems"] else 200
    return make_page(request, "connection.html", person, page, status)


def describe_test(language: Language, result: Mapping[str, Any]) -> dict[str, Any]:
    """Return `ok`, `text` and `detail` for the page of the vault's `ok`, `code` and `detail`."""
    texts = {**RESULTS}
    for kind in KINDS.values():
        texts |= kind.results
    text = texts.get(str(result.get("code")), RESULTS["failed"])
    return {
        "ok": bool(result.get("ok")),
        "text": language.say(text),
        "detail": str(result.get("detail") or ""),
    }


def explain_problems(language: Language, problems: Mapping[str, str]) -> dict[str, str]:
    """Return a sentence for each field that is wrong."""
    return {name: language.say(PROBLEMS.get(code, code)) for name, code in problems.items()}


def _name_fields(language: Language, kind: Kind) -> dict[str, str]:
    labels = {**_LABELS, **{field.name: field.label for field in kind.fields}}
    return {name: language.say(label) for name, label in labels.items()}


def _wants_json(request: Request) -> bool:
    return "application/json" in request.headers.get("accept", "")
