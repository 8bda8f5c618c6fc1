// What both JavaScript stories need: events by order, and waiting for one.
"use strict";

const seen = [];
const eventsOf = (order) => seen.filter((entry) => entry.id === order.id).map((entry) => entry.event);
const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function waitFor(order, event) {
  const until = Date.now() + 15_000;
  while (!eventsOf(order).includes(event)) {
    if (Date.now() > until) throw new Error(`${event} did not come: ${JSON.stringify(seen)}`);
    await sleep(10);
  }
  return eventsOf(order);
}

function run(story) {
  story().then(
    (told) => process.stdout.write(`${JSON.stringify(told)}\n`, () => process.exit(0)),
    (error) => {
      console.error(error);
      process.exit(1);
    },
  );
}

module.exports = { seen, waitFor, sleep, run };
