// Programs that send requests over standby connections, behind a relay that delays each direction and counts the round
// trips. It is counted and not timed, so a busy machine gets the same numbers.

import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { get as httpGet } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { get as httpsGet } from 'node:https';
import type { Socket } from 'node:net';
import { SocksAgent } from '@socksify/agent';
import type { ProxyLike } from '@socksify/core';
import { SocksDispatcher } from '@socksify/undici';
import type { Relay } from '@socksify/server';
import { CERTIFICATE as ca } from '@socksify/support';

/** Milliseconds in each direction. */
export const DELAY = 20;
/** Requests at once. */
const BURST = 4;
/** A burst may begin while the connections for the one before it are being replaced. */
const STANDBY = 2 * BURST;

export interface Program {
  readonly protocol: 'http' | 'https';
  /** Sends a request on a connection of its own. Calls back with the port of the connection at the first byte. */
  readonly request: (url: string, onFirstByte: (port: number) => void) => Promise<unknown>;
  readonly close: () => unknown;
}

function byAgent(protocol: Program['protocol'], agent: SocksAgent | false): Program {
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

function byDispatcher(protocol: Program['protocol'], route: ProxyLike): Program {
  const dispatcher = new SocksDispatcher(route, { standby: STANDBY, connect: { ca } });
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
const [SENT, ANSWERED] = ['undici:client:sendHeaders', 'undici:request:headers'] as const;
let requests = 0;

export const withoutProxy = (protocol: Program['protocol']): Program => byAgent(protocol, false);

export const PROGRAMS: Readonly<Record<string, (route: ProxyLike) => Program>> = {
  'SocksAgent, http': (route) => byAgent('http', new SocksAgent(route, { standby: STANDBY })),
  'SocksAgent, https': (route) => byAgent('https', new SocksAgent(route, { standby: STANDBY })),
  'SocksDispatcher, http': (route) => byDispatcher('http', route),
  'SocksDispatcher, https': (route) => byDispatcher('https', route),
};

/** The round trips of each request after the first, up to the first byte of its answer. */
export interface Counted {
  readonly second: number;
  /** Of requests at once, which follow other requests at once. */
  readonly burst: readonly number[];
  /** Of requests one after the other. */
  readonly series: readonly number[];
}

/** Without a proxy: the dial, TLS to the site, the request. */
export const EXPECTED = { http: all(2), https: all(3) } as const;

function all(trips: number): Counted {
  return { second: trips, burst: [trips, trips, trips, trips], series: [trips, trips, trips] };
}

export async function countTrips({ request, close }: Program, relay: Relay, url: string): Promise<Counted> {
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
