"""A Restate project: the app of all its services."""

import restate

from . import keyed, messages, tools

app = restate.app(
    services=[
        messages.ledger,
        messages.greeter,
        messages.counter,
        messages.front,
        messages.postman,
        messages.invoices,
        messages.sleeper,
        messages.control,
        tools.steps,
        tools.dice,
        tools.stubborn,
        tools.codecs,
        tools.combiner,
        tools.chunks,
        tools.mailbox,
        tools.switchboard,
        tools.booking,
        keyed.limiter,
        keyed.cron,
        keyed.order,
        keyed.approval,
        keyed.signup,
        keyed.desk,
    ]
)
