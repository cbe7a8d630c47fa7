// What a TypeScript project does with the client of Restate, against Barnabas: the client from npm, unchanged. Run by
// test_node_client.py with the URL of the ingress as INGRESS and, as INGRESS_WITHOUT, one where nobody listens.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, test } from "node:test";

import { connect, HttpCallError, Opts, rpc, SendOpts } from "@restatedev/restate-sdk-clients";
import { serde } from "@restatedev/restate-sdk-core";

const restate = connect({ url: process.env.INGRESS });
const Greeter = { name: "Greeter" };
const Counter = { name: "Counter" };
const Trip = { name: "Trip" };
const KEYS = ["a/b", "a b", "é", "日本", "%2F", "+", "?", "#", "send", randomUUID()];

let passed = 0;
const check = (name, body) => test(name, { timeout: 60_000 }, async () => { await body(); passed += 1; });
after(() => console.log(`passed: ${passed}`));

/** The error that a call ends with; its body must be the JSON that Restate answers with. */
async function failure(call, status) {
  try {
    await call;
  } catch (error) {
    assert(error instanceof HttpCallError, `not an HttpCallError: ${error}`);
    assert.equal(error.status, status, error.responseText);
    const body = JSON.parse(error.responseText);
    assert.equal(body.code, status);
    assert.equal(typeof body.message, "string");
    return body;
  }
  assert.fail(`no failure, expected ${status}`);
}

async function eventually(look) {
  for (const end = Date.now() + 30_000; Date.now() < end; ) {
    const found = await look();
    if (found) return found;
  }
  assert.fail("it never came true");
}

// -- calls

check("call of a service", async () => {
  const greeter = restate.serviceClient(Greeter);
  assert.equal(await greeter.greet("Ada"), "Hello Ada");
  assert.deepEqual(await greeter.buy({ item: "tea", count: 3 }), { item: "tea", price: 7.5 });
});

check("call of a handler without input, and of one without output", async () => {
  assert.equal(await restate.serviceClient(Greeter).hello(), "Hello");
  assert.equal(await restate.serviceClient(Greeter).nothing("x"), undefined);
});

check("call of an object", async () => {
  const counter = restate.objectClient(Counter, randomUUID());
  assert.deepEqual([await counter.add(2), await counter.add(3), await counter.total()], [2, 5, 5]);
});

check("keys may be anything", async () => {
  for (const key of KEYS) assert.equal(await restate.objectClient(Counter, key).my_key(), key);
});

check("raw bytes by a serde", async () => {
  const content = new Uint8Array([0, 1, 255, 128]);
  const opts = Opts.from({ input: serde.binary, output: serde.binary });
  assert.deepEqual(await restate.serviceClient(Greeter).echo(content, opts), content);
});

check("generic call and send", async () => {
  const key = randomUUID();
  const target = { service: "Counter", key, handler: "add", parameter: 4 };
  assert.equal(await restate.call(target), 4);
  const sent = await restate.send({ ...target, opts: SendOpts.from({ idempotencyKey: randomUUID() }) });
  assert.equal(sent.status, "Accepted");
  assert.equal(await restate.result(sent), 8);
});

check("clients of descriptors", async () => {
  assert.equal(await restate.client({ name: "Greeter", _kind: "service", _handlers: {} }).greet("B"), "Hello B");
  const counter = { name: "Counter", _kind: "object", _handlers: {} };
  const key = randomUUID();
  await restate.sendClient(counter, key).add(1);
  assert.equal(await restate.client(counter, key).add(1), 2);
});

check("headers reach the handler", async () => {
  const headers = await restate.serviceClient(Greeter).seen(rpc.opts({ headers: { "X-Seat": "12A" } }));
  assert.equal(headers["x-seat"], "12A");
  const other = connect({ url: process.env.INGRESS, headers: { "x-every": "1" } });
  assert.equal((await other.serviceClient(Greeter).seen())["x-every"], "1");
});

// -- sends, delays, idempotency

check("send", async () => {
  const key = randomUUID();
  const sent = await restate.objectSendClient(Counter, key).add(7);
  assert.match(sent.invocationId, /^inv_/);
  assert.equal(sent.status, "Accepted");
  assert.equal(sent.attachable, false);
  await assert.rejects(restate.result(sent), /idempotencyKey/);
  assert.equal(await restate.objectClient(Counter, key).add(1), 8);
});

check("delayed send", async () => {
  const opts = rpc.sendOpts({ delay: 700, idempotencyKey: randomUUID() });
  const before = Date.now();
  const sent = await restate.serviceSendClient(Greeter).greet("Ada", opts);
  assert(Date.now() - before < 30_000);
  assert.equal(await restate.result(sent), "Hello Ada");
  assert(Date.now() - before >= 690, "too early");
});

check("delay as a duration", async () => {
  const opts = rpc.sendOpts({ delay: { hours: 1 }, idempotencyKey: randomUUID() });
  const sent = await restate.serviceSendClient(Greeter).greet("Ada", opts);
  assert.equal(sent.status, "Accepted");
  assert.equal((await restate.serviceSendClient(Greeter).greet("Ada", opts)).status, "PreviouslyAccepted");
  const output = await fetch(`${process.env.INGRESS}/restate/invocation/${sent.invocationId}/output`);
  assert.equal(output.status, 470);
});

check("idempotency", async () => {
  const opts = rpc.opts({ idempotencyKey: randomUUID() });
  const greeter = restate.serviceClient(Greeter);
  const first = await greeter.ticket("a", opts);
  assert.equal(await greeter.ticket("other", opts), first);
  assert.notEqual(await greeter.ticket("a", rpc.opts({ idempotencyKey: randomUUID() })), first);
});

check("idempotent send, attached to", async () => {
  const opts = rpc.sendOpts({ idempotencyKey: randomUUID() });
  const sent = await restate.serviceSendClient(Greeter).slow(300, opts);
  const again = await restate.serviceSendClient(Greeter).slow(300, opts);
  assert.deepEqual([sent.status, again.status], ["Accepted", "PreviouslyAccepted"]);
  assert.equal(again.invocationId, sent.invocationId);
  assert.deepEqual(await Promise.all([restate.result(sent), restate.result(again)]), ["done", "done"]);
});

// -- workflows

check("workflow: submit, attach, output", async () => {
  const trip = restate.workflowClient(Trip, randomUUID());
  const first = await trip.workflowSubmit("Oslo");
  assert.equal(first.status, "Accepted");
  const again = await trip.workflowSubmit("Rome");
  assert.deepEqual([again.status, again.invocationId], ["PreviouslyAccepted", first.invocationId]);
  const early = await trip.workflowOutput();
  assert.equal(early.ready, false);
  assert.throws(() => early.result);
  const attached = trip.workflowAttach();
  await trip.choose("12A");
  assert.equal(await attached, "Oslo 12A");
  assert.deepEqual(await trip.workflowOutput(), { ready: true, result: "Oslo 12A" });
  assert.equal(await trip.chosen(), "12A");
  assert.equal(await trip.workflowAttach(), "Oslo 12A");
});

check("workflow: a key may be anything; submitted with a delay", async () => {
  const trip = restate.workflowClient(Trip, `${randomUUID()}/a b/é`);
  await trip.choose("1A"); // in advance
  await trip.workflowSubmit("Oslo", rpc.sendOpts({ delay: 200 }));
  assert.equal(await trip.workflowAttach(), "Oslo 1A");
  await failure(trip.choose("2B"), 409);
});

check("workflow: one that never was", async () => {
  const trip = restate.workflowClient(Trip, randomUUID());
  await failure(trip.workflowAttach(), 404);
  await failure(trip.workflowOutput(), 404);
});

// -- awakeables


check("awakeable: resolve", async () => {
  const key = randomUUID();
  const called = restate.objectClient(Counter, key).wait();
  const id = await eventually(() => restate.objectClient(Counter, key).waits_for());
  assert.match(id, /^sign_1/);
  await restate.resolveAwakeable(id, "first");
  await restate.resolveAwakeable(id, "second");
  assert.equal(await called, "first");
});

check("awakeable: reject", async () => {
  const key = randomUUID();
  const called = failure(restate.objectClient(Counter, key).wait(), 500);
  const id = await eventually(() => restate.objectClient(Counter, key).waits_for());
  await restate.rejectAwakeable(id, "sold out");
  assert.match((await called).message, /sold out/);
});

check("awakeable: a malformed id", async () => {
  await failure(restate.resolveAwakeable("sign_1x", 1), 400);
  await failure(restate.rejectAwakeable("nonsense", "why"), 400);
});

// -- errors, and what a client does about them

check("errors", async () => {
  const greeter = restate.serviceClient(Greeter);
  for (const code of [400, 409, 418, 444, 500, 503]) {
    const body = await failure(greeter.fail(code), code);
    assert.deepEqual(body, { code, message: "boo", source: "invocation", metadata: { seat: "12A" } });
  }
  assert.match((await failure(restate.serviceClient({ name: "Nobody" }).greet("x"), 404)).message, /Nobody/);
  assert.match((await failure(greeter.nonsense("x"), 404)).message, /nonsense/);
  assert.match((await failure(greeter.buy({ count: "many" }), 400)).message, /^Unable to parse an input argument/);
  await failure(restate.serviceClient({ name: "Private" }).secret(), 400);
  await failure(restate.serviceClient(Counter).add(1), 400); // an object without key
  await failure(restate.objectClient(Greeter, "k").greet("x"), 400); // a service with one
});

check("scopes are refused, and say so", async () => {
  const body = await failure(restate.scope("tenant").serviceClient(Greeter).greet("x"), 501);
  assert.match(body.message, /scope/);
  await failure(restate.serviceClient(Greeter).greet("x", rpc.opts({ limitKey: "k" })), 501);
});

check("timeout and abort", async () => {
  const greeter = restate.serviceClient(Greeter);
  await assert.rejects(greeter.slow(60_000, rpc.opts({ timeout: 300 })), { name: "TimeoutError" });
  const stop = new AbortController();
  const called = greeter.slow(60_000, rpc.opts({ signal: stop.signal }));
  stop.abort();
  await assert.rejects(called, { name: "AbortError" });
  assert.equal(await greeter.hello(), "Hello");
});

check("retries: a terminal error is none's cause", async () => {
  let requests = 0;
  const counted = (...args) => { requests += 1; return fetch(...args); };
  const retry = { maxAttempts: 3, initialInterval: 1 };
  const retrying = connect({ url: process.env.INGRESS, retry, fetch: counted });
  const opts = () => rpc.opts({ idempotencyKey: randomUUID() });
  await failure(retrying.serviceClient(Greeter).fail(503, opts()), 503);
  assert.equal(requests, 1);
  requests = 0;
  const nowhere = connect({ url: process.env.INGRESS_WITHOUT, retry, fetch: counted });
  await assert.rejects(nowhere.serviceClient(Greeter).greet("Ada", opts()));
  assert.equal(requests, 3);
});

check("many at a time", async () => {
  const counter = restate.objectClient(Counter, randomUUID());
  const totals = await Promise.all(Array.from({ length: 200 }, () => counter.add(1)));
  assert.deepEqual(totals.sort((a, b) => a - b), Array.from({ length: 200 }, (_, i) => i + 1));
});
