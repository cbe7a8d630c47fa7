"""An app in which nothing waits, with types of many forms: for requests that are made up from its documents.

No handler sometimes returns nothing: an OpenAPI document cannot say that there may be no body.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

import pydantic

import barnabas
from barnabas import Context, ObjectContext, ObjectSharedContext, WorkflowContext, WorkflowSharedContext

library = barnabas.Service("Library", description="Finds and lends.")
shelf = barnabas.VirtualObject("Shelf")
loan = barnabas.Workflow("Loan")
cellar = barnabas.Service("Cellar", ingress_private=True)


class Book(pydantic.BaseModel):
    """One copy. Strict: pydantic would take "12" for 12 otherwise, which a schema does not say."""

    model_config = pydantic.ConfigDict(strict=True)

    title: str = pydantic.Field(min_length=1, max_length=200)
    pages: int = pydantic.Field(ge=1, le=100_000)
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
async def double(ctx: Context, number: Annotated[int, pydantic.Field(strict=True)]) -> int:
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
