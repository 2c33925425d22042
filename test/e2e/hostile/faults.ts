// Puts one fault before one client, and reports the outcome, the number of attempts, and whether the proxy's socket was
// closed. Counts faults and descriptors.

import { startScript } from '@socksify/server';
import type { Misbehaviour } from '@socksify/server';
import { countDescriptors, countSockets, within as withinTime } from '@socksify/support';
import type { Site } from '@socksify/support';
import { afterAll, beforeAll } from 'vitest';
import { CLIENTS, codeOf } from '../clients.ts';
import type { Client, Reply, RequestOptions } from '../clients.ts';

type Protocol = 'http' | 'https';

/** Each client once, with the first of its protocols. */
export const ONCE: readonly Row[] = CLIENTS.map((client) => rowOf(client, client.protocols[0] ?? 'http'));
/** Each client with each of its protocols. */
export const ALL: readonly Row[] = CLIENTS.flatMap((client) =>
  client.protocols.map((protocol) => rowOf(client, protocol)),
);

export interface Row {
  readonly name: string;
  readonly client: Client;
  readonly protocol: Protocol;
}

function rowOf(client: Client, protocol: Protocol): Row {
  return {
    name: client.name.startsWith('http') ? client.name : `${client.name}, ${protocol}`,
    client,
    protocol,
  };
}

/** How a request ended. A request without an answer and without an error is a hang, which is thrown. */
export interface Outcome {
  readonly reply?: Reply;
  readonly error?: unknown;
  /** Of the error, or its name; `an answer`. */
  readonly code: string | undefined;
}

export interface Ending extends Outcome {
  /** Connections that the proxy has seen, at the end of everything. */
  readonly attempts: number;
}

/** No machine is as slow as this. It is shorter than the time limit of a test, so that the error names what hangs. */
const HANG = 10_000;

/** @throws Error that says what hangs */
export function within<Value>(promise: Promise<Value>, what: string): Promise<Value> {
  return withinTime(promise, what, HANG);
}

/** Sends one request. This process can connect to the site itself, so a client that connects directly gets an answer. */
export function request(
  { name, client, protocol }: Row,
  proxy: string,
  site: Site,
  options: RequestOptions = {},
): Promise<Outcome> {
  const sent = client.request(proxy, `${protocol}://127.0.0.1:${site[protocol]}/`, options).then(
    (reply): Outcome => ({ reply, code: 'an answer' }),
    (error: Error): Outcome => ({
      error,
      code:
        error.name === 'AbortError' ? error.name : (codeOf(error) ?? ((error.cause ?? error) as Error).name),
    }),
  );
  return within(sent, `${name} through ${proxy}`);
}

let injected = 0;

/** For a fault that a test injects itself. */
export function countFault(): void {
  injected++;
}

/** Prints after the tests of a file what they tried, and how many descriptors were open before and after. */
export function reportFaults(tried: string): void {
  let before = held();
  beforeAll(() => {
    before = held();
  });
  afterAll(() => {
    console.log(
      `${tried}, ${injected} faults injected, ` +
        `descriptors ${before.descriptors} before, ${held().descriptors} after`,
    );
  });
}

/** Puts the client before a proxy that does this, and waits until it is over for the proxy too. */
export async function inject(
  row: Row,
  { client, script }: Misbehaviour,
  site: Site,
  options?: RequestOptions,
): Promise<Ending> {
  countFault();
  const server = await startScript(script);
  try {
    const outcome = await request(row, `${client}127.0.0.1:${server.port}`, site, options);
    const connection = await within(server.connection(), 'a connection');
    // The server cannot see what a client does whose connection it has reset.
    if (!script.some((step) => 'reset' in step)) {
      await within(
        connection.closedByClient,
        `the socket of ${row.name}: ${JSON.stringify(script).slice(0, 300)}`,
      );
    }
    return { ...outcome, attempts: server.connections.length };
  } finally {
    await server.close();
  }
}

/** Runs so many of the tasks at a time; the results in their order. */
export async function together<Task, Result>(
  tasks: readonly Task[],
  run: (task: Task) => Promise<Result>,
  limit = 24,
): Promise<Result[]> {
  const results: Result[] = [];
  const queue = tasks.entries();
  const worker = async (): Promise<void> => {
    for (const [i, task] of queue) results[i] = await run(task);
  };
  await Promise.all(Array.from({ length: limit }, worker));
  return results;
}

interface Held {
  readonly descriptors: number;
  readonly sockets: number;
}

/** What this process has open, the servers in it included. */
export function held(): Held {
  return { descriptors: countDescriptors(), sockets: countSockets() };
}
