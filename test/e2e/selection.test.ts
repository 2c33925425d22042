// One table for both adapters: each request is sent as the selector says. The selector is called once for each request,
// in its own async context, and no connection outlives the answer for which it was opened.

import { AsyncLocalStorage } from 'node:async_hooks';
import { once } from 'node:events';
import { createServer, get as getHttp } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { createSecureServer } from 'node:http2';
import { get as getHttps } from 'node:https';
import type { AddressInfo, Server } from 'node:net';
import { SocksAgent } from '@socksify/agent';
import type { ProxyChoice, ProxySelector } from '@socksify/core';
import { TLS } from '@socksify/support';
import { startServer } from '@socksify/server';
import type { SocksServer } from '@socksify/server';
import { SocksDispatcher } from '@socksify/undici';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';

const REQUESTS = 20;
const current = new AsyncLocalStorage<number>();

let proxies: { readonly one: SocksServer; readonly other: SocksServer };
let sites: { readonly http: Server; readonly https: Server };
/** The client's port and the HTTP version of the last request for each path. */
const seen = new Map<string, { readonly port: number | undefined; readonly version: string }>();

beforeAll(async () => {
  const users = { alice: 'a', bob: 'b' };
  const names = { localhost: '127.0.0.1' };
  proxies = { one: await startServer({ names }), other: await startServer({ names, users }) };
  const answer = (request: IncomingMessage, response: { end: (body: string) => void }): void => {
    seen.set(request.url ?? '', { port: request.socket.remotePort, version: request.httpVersion });
    response.end(`answer to ${request.url}`);
  };
  const https = createSecureServer({ ...TLS, allowHTTP1: true }, answer as never);
  sites = { http: createServer(answer as never), https };
  for (const site of Object.values(sites)) await once(site.listen(0, '127.0.0.1'), 'listening');
});
afterAll(async () => {
  for (const site of Object.values(sites)) site.close();
  for (const proxy of Object.values(proxies)) await proxy.close();
});

type Answer = 'one' | 'alice' | 'bob' | 'direct';
const choiceOf = (answer: Answer): ProxyChoice => {
  if (answer === 'direct') return undefined;
  if (answer === 'one') return proxies.one.url('socks5');
  const url = new URL(proxies.other.url('socks5'));
  return Object.assign(url, { username: answer, password: answer[0] });
};

/** The system may give the port of a closed connection to a new one, so only the ports of the present test count. */
let entries = { one: 0, other: 0 };
beforeEach(() => {
  entries = { one: proxies.one.log.length, other: proxies.other.log.length };
});

/** How the connection with this client's port came. */
function routeOf(port: number | undefined): Answer {
  const present = [...proxies.one.log.slice(entries.one), ...proxies.other.log.slice(entries.other)];
  const entry = present.findLast(({ outgoingPort }) => outgoingPort === port);
  if (!entry) return 'direct';
  return entry.user === undefined ? 'one' : (entry.user as Answer);
}

class Refused extends Error {}

interface Row {
  readonly name: string;
  /** What the selector says to request i; `throw` for an error. */
  readonly says: (i: number) => Answer | 'throw';
  /** How it says so. Default: it returns it. */
  readonly answers?: (choice: () => ProxyChoice, i: number) => ProxyChoice | Promise<ProxyChoice>;
}

const later = async (choice: () => ProxyChoice, i: number): Promise<ProxyChoice> => {
  for (let turn = i % 3; turn >= 0; turn--) await new Promise((resolve) => setImmediate(resolve));
  return choice();
};
const half = (first: Answer, second: Answer) => (i: number) => (i < REQUESTS / 2 ? first : second);
const inTurn =
  (...answers: readonly (Answer | 'throw')[]) =>
  (i: number) =>
    answers[i % answers.length] as Answer | 'throw';

const rows: readonly Row[] = [
  { name: 'two proxies in turn', says: inTurn('one', 'alice') },
  { name: 'a proxy, then direct connections', says: half('one', 'direct') },
  { name: 'direct connections, then a proxy', says: half('direct', 'one') },
  { name: 'a proxy and direct connections in turn', says: inTurn('one', 'direct') },
  { name: 'other credentials in turn', says: inTurn('alice', 'bob') },
  { name: 'other credentials from the middle on', says: half('alice', 'bob') },
  { name: 'a promise of each in turn', says: inTurn('one', 'alice', 'bob', 'direct'), answers: later },
  { name: 'an error for every third', says: inTurn('one', 'alice', 'throw') },
  { name: 'a promise that every third rejects', says: inTurn('one', 'throw', 'bob'), answers: later },
  {
    name: 'a promise and an answer in turn',
    says: inTurn('one', 'bob', 'direct'),
    answers: (choice, i) => (i % 2 === 0 ? choice() : later(choice, i)),
  },
];

interface Adapter {
  readonly name: string;
  readonly protocol: 'http' | 'https';
  readonly version: string;
  open(selector: ProxySelector): { send: (url: string) => Promise<string>; close: () => unknown };
}

const agent = (protocol: 'http' | 'https'): Adapter => ({
  name: `SocksAgent, ${protocol}`,
  protocol,
  version: '1.1',
  open(selector) {
    const socksAgent = new SocksAgent(selector, {
      keepAlive: true,
      maxSockets: 3,
      rejectUnauthorized: false,
    });
    const get = protocol === 'https' ? getHttps : getHttp;
    return {
      send: async (url) => {
        const [response] = (await once(get(url, { agent: socksAgent }), 'response')) as [IncomingMessage];
        let body = '';
        for await (const chunk of response.setEncoding('utf8')) body += String(chunk);
        return body;
      },
      close: () => socksAgent.destroy(),
    };
  },
});

const dispatcher = (protocol: 'http' | 'https', allowH2: boolean, options: object = {}): Adapter => ({
  name: `SocksDispatcher, ${allowH2 ? 'HTTP/2' : protocol}${'connections' in options ? ', 3 connections' : ''}`,
  protocol,
  version: allowH2 ? '2.0' : '1.1',
  open(selector) {
    const socks = new SocksDispatcher(selector, {
      allowH2,
      connect: { rejectUnauthorized: false },
      ...options,
    });
    return {
      send: async (url) => {
        const response = await fetch(url, { dispatcher: socks });
        return response.text();
      },
      close: () => socks.destroy(),
    };
  },
});

const adapters: readonly Adapter[] = [
  agent('http'),
  agent('https'),
  dispatcher('http', false),
  dispatcher('http', false, { connections: 3 }),
  dispatcher('https', false),
  dispatcher('https', true),
];

describe.each(adapters)('$name', (adapter) => {
  test.each(
    rows.flatMap((row) => [
      { ...row, parallel: false, order: 'one after the other' },
      { ...row, parallel: true, order: 'at the same time' },
    ]),
  )(
    'sends requests $order as a selector says that gives $name',
    async ({ says, answers = (choice) => choice(), parallel }) => {
      const calls: number[] = [];
      const { send, close } = adapter.open(() => {
        const i = current.getStore() as number;
        calls.push(i);
        return answers(() => {
          const answer = says(i);
          if (answer === 'throw') throw new Refused(`no proxy for ${i}`);
          return choiceOf(answer);
        }, i);
      });
      const { port } = sites[adapter.protocol].address() as AddressInfo;
      const request = (i: number): Promise<Answer | 'throw'> =>
        current.run(i, async () => {
          const path = `/${adapter.name}/${i}`.replaceAll(' ', '');
          try {
            expect(await send(`${adapter.protocol}://localhost:${port}${path}`)).toBe(`answer to ${path}`);
          } catch (error) {
            const reason = error instanceof Refused ? error : (error as Error).cause;
            if (!(reason instanceof Refused)) throw error;
            expect(reason.message).toBe(`no proxy for ${i}`);
            return 'throw';
          }
          expect(seen.get(path)?.version).toBe(adapter.version);
          return routeOf(seen.get(path)?.port);
        });
      const numbers = Array.from({ length: REQUESTS }, (_, i) => i);
      const happened: (Answer | 'throw')[] = [];
      try {
        if (parallel) happened.push(...(await Promise.all(numbers.map(request))));
        else for (const i of numbers) happened.push(await request(i));
      } finally {
        await close();
      }
      expect(happened).toEqual(numbers.map(says));
      expect(calls.toSorted((a, b) => a - b)).toEqual(numbers);
    },
  );
});
