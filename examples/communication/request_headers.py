"""Request headers: what a caller gives reaches the handler; `traceparent` goes on by itself."""

from __future__ import annotations

from barnabas import Client, Context, Service

# snippet
echo = Service("Echo")


@echo.handler()
async def headers(ctx: Context) -> dict[str, str]:
    return ctx.request().headers


@echo.handler()
async def headers_below(ctx: Context) -> list[dict[str, str]]:
    plain = await ctx.service_call(headers, None)
    given = await ctx.service_call(headers, None, headers={"x-tenant": "acme"})
    return [plain, given]


async def main(client: Client, name: str) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    sent = {"traceparent": trace, "x-user": name}
    assert await client.service_call(headers, None, headers=sent) == sent
    plain, given = await client.service_call(headers_below, None, headers=sent)
    assert plain == {"traceparent": trace}  # other headers are passed on by hand
    assert given == {"traceparent": trace, "x-tenant": "acme"}


# end
