/**
 * Registers, reads persons with a filter, subscribes, waits for one change, and exits with 0.
 * Prints one JSON document per step.
 *
 *     node example.mjs HOST PORT USER PASSWORD APPLICATION
 *
 * PASSWORD "-" takes the password from the environment variable CSPROXY_PASSWORD.
 */

import { ConfigClient, ObjectType } from "./client.mjs";

function say(step, document = {}) {
  const readable = (_, value) => {
    if (typeof value === "bigint") return value.toString();
    return value instanceof Uint8Array ? Buffer.from(value).toString("hex") : value;
  };
  console.log(JSON.stringify({ step, ...document }, readable));
}

const [host, port, user, password, application] = process.argv.slice(2);
if (application === undefined) {
  console.error("usage: node example.mjs HOST PORT USER PASSWORD APPLICATION");
  process.exit(2);
}

try {
  const client = await ConfigClient.connect({ host, port: Number(port), client: application });
  say("connected", { version: client.server.version, release: client.server.release });

  const secret = password === "-" ? (process.env.CSPROXY_PASSWORD ?? "") : password;
  const { role, position: start } = await client.register({ application, user, password: secret });
  say("registered", { role, ...start });

  const { objects, position } = await client.read(ObjectType.PERSON, { tenant_dbid: 1, user_name: user });
  say("read", { count: objects.length, persons: objects, ...position });

  const subscribed = await client.subscribe({ objectType: ObjectType.PERSON, after: position });
  say("subscribed", subscribed);

  for await (const { position: at, ...change } of client.changes()) {
    say("changed", { ...change, ...at });
    break;
  }
  client.close();
  say("closed");
} catch (error) {
  console.error(`${error.name}: ${error.message}`);
  process.exitCode = 1;
}
