"""`barnabas.app`: refuses what cannot run, when it is made and not when it is called."""

from __future__ import annotations

import pytest

import barnabas


async def ping(ctx):
    return "pong"


def service(name: str = "Greeter") -> barnabas.Service:
    made = barnabas.Service(name)
    made.handler()(ping)
    return made


def test_services_by_name():
    greeter, cart = service(), barnabas.VirtualObject("Cart")
    cart.handler()(ping)

    app = barnabas.app(iter([greeter, cart]), namespace="demo", group="demo.workers")

    assert app.services == {"Greeter": greeter, "Cart": cart}
    assert (app.namespace, app.group) == ("demo", "demo.workers")
    assert barnabas.app([greeter]).namespace is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"protocol": "bidi"}, "protocol"),
        ({"identity_keys": ["k"]}, "identity_keys"),
        ({"journal_value_codec": object()}, "journal_value_codec"),
        ({"namespace": "a.b"}, "no dot"),
        ({"group": "a/b"}, "group"),
    ],
)
def test_what_has_no_meaning_here_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        barnabas.app([service()], **options)


def test_two_services_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two services are named 'Greeter'"):
        barnabas.app([service(), service()])


@pytest.mark.parametrize(
    ("services", "words"),
    [([], "at least one"), ([ping], "is no Service"), ([barnabas.Service("Empty")], "Empty has no handler")],
)
def test_an_app_of_nothing_is_refused(services, words):
    with pytest.raises(ValueError, match=words):
        barnabas.app(services)


def test_a_workflow_is_served_by_its_name():
    flow = barnabas.Workflow("Flow")
    flow.main()(ping)

    assert barnabas.app([flow]).services == {"Flow": flow}


def test_a_workflow_without_a_main_handler_is_refused():
    flow = barnabas.Workflow("Flow")
    flow.handler()(ping)

    with pytest.raises(ValueError, match=r"workflow Flow has no main handler.*\.main\(\)"):
        barnabas.app([flow])
