// Counts the round trips that a program waits for, up to the first byte of each answer, through a relay that counts how
// often its clients were answered. They are counted and not timed, so a busy machine gets the same numbers.

import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { get as httpGet } from 'node:http';
import type { Agent, IncomingMessage } from 'node:http';
import { get as httpsGet } from 'node:https';
import type { Socket } from 'node:net';
import { CERTIFICATE as ca } from './certificate.ts';

/** Requests at once. */
const BURST = 4;

export interface TripsProgram {
  readonly protocol: 'http' | 'https';
  /** Sends a request on a connection of its own. Calls back with the port of the connection at the first byte. */
  readonly request: (url: string, onFirstByte: (port: number) => void) => Promise<unknown>;
  readonly close: () => unknown;
}

/** Sends requests by `http` or `https`; without a proxy if the agent is false. */
export function tripsByAgent(
  protocol: TripsProgram['protocol'],
  agent: (Agent & { destroy: () => unknown }) | false,
): TripsProgram {
  const get = protocol === 'http' ? httpGet : httpsGet;
  return {
    protocol,
    async request(url, onFirstByte) {
      const [response] = (await once(get(url, { agent, ca }), 'response')) as [IncomingMessage];
      onFirstByte(response.socket.localPort ?? 0);
      await once(response.resume(), 'end');
    },
    close: () => agent && agent.destroy(),
  };
}

/** What undici publishes when it sends a request, and when the head of the answer has come. */
interface Published {
  readonly request: { readonly path: string };
  readonly socket?: Socket;
}

const [SENT, ANSWERED] = ['undici:client:sendHeaders', 'undici:request:headers'] as const;
let requests = 0;

/** Sends requests by `fetch`. */
export function tripsByDispatcher(
  protocol: TripsProgram['protocol'],
  dispatcher: { destroy: () => unknown },
): TripsProgram {
  const options: object = { dispatcher, headers: { connection: 'close' } };
  return {
    protocol,
    async request(url, onFirstByte) {
      // The path tells the requests of this process apart.
      const path = `/${++requests}`;
      let port = 0;
      const onPublished = (message: unknown, channel: string | symbol): void => {
        const { request, socket } = message as Published;
        if (request.path !== path) return;
        if (channel === SENT) port = socket?.localPort ?? 0;
        else onFirstByte(port);
      };
      for (const channel of [SENT, ANSWERED]) subscribe(channel, onPublished);
      const response = await fetch(new URL(path, url), options);
      for (const channel of [SENT, ANSWERED]) unsubscribe(channel, onPublished);
      await response.text();
    },
    close: () => dispatcher.destroy(),
  };
}

/** The round trips of each request after the first. */
export interface Trips {
  readonly second: number;
  /** Of requests at once, which follow other requests at once. */
  readonly burst: readonly number[];
  /** Of requests one after the other. */
  readonly series: readonly number[];
}

export async function countTrips(
  { request, close }: TripsProgram,
  relay: { answers: () => ReadonlyMap<number, number> },
  url: string,
): Promise<Trips> {
  const one = async (): Promise<number> => {
    const before = relay.answers();
    let trips = 0;
    await request(url, (port) => {
      const answers = relay.answers().get(port) ?? Number.NaN;
      const known = before.get(port);
      // A connection that was not open yet takes one more, for the dial.
      trips = known === undefined ? answers + 1 : answers - known;
    });
    return trips;
  };
  const several = (): Promise<number[]> => Promise.all(Array.from({ length: BURST }, one));
  try {
    await one();
    const second = await one();
    await several();
    return { second, burst: await several(), series: [await one(), await one(), await one()] };
  } finally {
    await close();
  }
}
