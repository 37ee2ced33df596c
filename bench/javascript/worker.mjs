// The official JavaScript worker: node worker.mjs ORIGIN. Ends when stdin does.
import { Inngest } from "inngest";
import { connect } from "inngest/connect";

const [origin] = process.argv.slice(2);
process.env.INNGEST_DEV = origin;
const quiet = { debug() {}, info() {}, warn() {}, error: console.error };
const client = new Inngest({ id: "bench", baseUrl: origin, isDev: true, logger: quiet });
const trigger = { event: "bench" };

function make(id, handler) {
  return client.createFunction({ id, retries: 0, triggers: [trigger] }, handler);
}

const echo = async ({ event }) => event.data.x;
const functions = [
  make("async", echo),
  make("sync", echo), // there are no threads here: the same
  make("steps", async ({ event, step }) => {
    for (const name of ["one", "two", "three"]) await step.run(name, async () => 1);
    return event.data.x;
  }),
];

process.stdin.on("end", () => process.exit(0));
process.stdin.resume();
await connect({ apps: [{ client, functions }], handleShutdownSignals: [] });
