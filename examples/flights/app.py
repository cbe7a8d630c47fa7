"""The services of the flights demo: planes and airports keep running totals, carriers rate single flights.

barnabas dev examples.flights.app:app
"""

from __future__ import annotations

import barnabas
from barnabas import Context, ObjectContext, ObjectSharedContext, Service, VirtualObject
from examples.flights.models import CarrierTotals, Departure, Flight, Rating, Totals, linked

plane = VirtualObject("Plane")
airport = VirtualObject("Airport")
carrier = Service("Carrier")

#: Minutes late from which a flight no longer counts as on time.
LATE_MINUTES = 15


@plane.handler()
async def depart(ctx: ObjectContext, flight: Flight) -> Totals:
    """Count one departure of this plane: have the carrier rate it, tell the airport, keep the new totals."""
    rating = await ctx.service_call(rate, flight)
    ctx.object_send(departed, flight.origin, Departure(carrier=flight.carrier, delay=flight.delay, rating=rating))
    so_far = await ctx.get("totals", type_hint=Totals) or Totals()
    totals = Totals(
        flights=so_far.flights + 1,
        distance=so_far.distance + flight.distance,
        delay=so_far.delay + flight.delay,
        air_time=so_far.air_time + (flight.air_time or 0),
        on_time=so_far.on_time + rating.on_time,
        points=so_far.points + rating.points,
        last_row=flight.row,
        chain=linked(so_far.chain, flight.row),
    )
    ctx.set("totals", totals)
    return totals


@plane.handler("totals", kind="shared")
async def plane_totals(ctx: ObjectSharedContext) -> Totals | None:
    """What this plane has flown so far; null for one that never departed."""
    return await ctx.get("totals", type_hint=Totals)


@airport.handler()
async def departed(ctx: ObjectContext, departure: Departure) -> None:
    """Count one departure from this airport. The state has one value a carrier, named by its code."""
    so_far = await ctx.get(departure.carrier, type_hint=CarrierTotals) or CarrierTotals()
    ctx.set(
        departure.carrier,
        CarrierTotals(
            departures=so_far.departures + 1,
            delay=so_far.delay + departure.delay,
            on_time=so_far.on_time + departure.rating.on_time,
            points=so_far.points + departure.rating.points,
        ),
    )


@carrier.handler()
async def rate(ctx: Context, flight: Flight) -> Rating:
    """A hundred points for a flight on time, less one a minute late, half for the short ones."""
    points = 100 - min(max(flight.delay, 0), 100)
    return Rating(on_time=flight.delay < LATE_MINUTES, points=points if flight.distance >= 500 else points // 2)


app = barnabas.app([plane, airport, carrier])
