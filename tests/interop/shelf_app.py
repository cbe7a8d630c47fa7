"""An app in which nothing waits, with types of many forms: for requests that are made up from its documents.

No handler sometimes returns nothing: an OpenAPI document cannot say that there may be no body.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

import pydantic

import barnabas
from barnabas import Context, ObjectContext, ObjectSharedContext, WorkflowContext, WorkflowSharedContext

library = barnabas.Service("Library", description="Finds and lends.")
shelf = barnabas.VirtualObject("Shelf")
loan = barnabas.Workflow("Loan")
cellar = barnabas.Service("Cellar", ingress_private=True)


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


#: What JSON schema calls an integer: 12.0 too, which pydantic does not take when it is strict, but not "12" and true,
#: which it does when it is not.
Whole = Annotated[int, pydantic.Field(strict=True), pydantic.BeforeValidator(_whole)]


class Book(pydantic.BaseModel):
    """One copy."""

    model_config = pydantic.ConfigDict(strict=True)

    title: str = pydantic.Field(min_length=1, max_length=200)
    pages: Whole = pydantic.Field(ge=1, le=100_000)
    kind: Literal["novel", "map", "score"] = "novel"
    bought: date | None = None
    parts: list[Book] = []


class Found(pydantic.BaseModel):
    """What a search has found."""

    count: int
    books: list[Book]


@library.handler()
async def ping(ctx: Context) -> str:
    """Takes nothing."""
    return "pong"


@library.handler()
async def find(ctx: Context, words: list[str]) -> Found:
    """Look for words in titles."""
    return Found(count=len(words), books=[Book(title=word[:200], pages=1) for word in words if word])


@library.handler()
async def double(ctx: Context, number: Whole) -> int:
    """Any whole number."""
    return number * 2


@library.handler()
async def copy(ctx: Context, content: bytes) -> bytes:
    """Any bytes, and one more."""
    return content + b"."


@library.handler()
async def note(ctx: Context, text: str | None) -> None:
    """Returns nothing."""


@shelf.handler()
async def put(ctx: ObjectContext, book: Book) -> int:
    """Put a book onto it; how many there are now."""
    count: int = (await ctx.get("count") or 0) + 1
    ctx.set("count", count)
    return count


@shelf.handler(kind="shared")
async def count(ctx: ObjectSharedContext) -> int:
    """How many books there are."""
    return await ctx.get("count") or 0


@loan.main()
async def run(ctx: WorkflowContext, book: Book) -> str:
    """Lend it."""
    await ctx.promise("lent", type_hint=str).resolve(book.title)
    return book.title


@loan.handler()
async def lent(ctx: WorkflowSharedContext) -> str:
    """What was lent, or an empty text."""
    found: str | None = await ctx.promise("lent", type_hint=str).peek()
    return found or ""


@cellar.handler()
async def secret(ctx: Context) -> str:
    return "secret"


app = barnabas.app([library, shelf, loan, cellar])
