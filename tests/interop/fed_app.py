"""`app` with a subscription of the topic that INTEROP_SOURCE names."""

from __future__ import annotations

import os

import barnabas
from barnabas import Subscription
from tests.interop.app import counter, greeter, nothing, private, trip

app = barnabas.app(
    [greeter, counter, trip, private],
    subscriptions=[Subscription(os.environ["INTEROP_SOURCE"], nothing, format="json", name="interop")],
)
