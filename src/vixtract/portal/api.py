"""The same as the pages, as JSON for programs: `/portal/api`, described by its OpenAPI document.

Programs send a token of the Hub (`Authorization: token …`). The portal's own pages may use their
cookie, and then need the form token in the header `X-Form-Token` for changes. What all calls share
stands here; `api_schedules` and `api_runs` have the calls.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from vixtract.portal.web import PersonDep


class Problem(BaseModel):
    """What went wrong."""

    error: str
    hint: str = ""
    problems: dict[str, str] = Field(default={}, description="Field to what is wrong with it")


router = APIRouter(
    prefix="/api",
    responses={
        401: {"model": Problem, "description": "Nobody is signed in"},
        403: {"model": Problem, "description": "Not from a page of the portal, or not allowed"},
        503: {"model": Problem, "description": "The scheduler or the Hub does not answer"},
    },
)
MISSING: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": "There is none, or it is another person's"}
}
REFUSED: dict[int | str, dict[str, Any]] = {
    409: {"model": Problem, "description": "The scheduler refuses, the text says why"}
}
INVALID: dict[int | str, dict[str, Any]] = {
    422: {"model": Problem, "description": "A field is wrong; `problems` says which"}
}


class PersonOut(BaseModel):
    """Who is signed in."""

    name: str
    admin: bool


@router.get("/me")
async def me(person: PersonDep) -> PersonOut:
    """Say who is signed in."""
    return PersonOut(name=person.name, admin=person.admin)
