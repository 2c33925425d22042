// install() takes every route that core takes, and leaves it as it is.

import { afterAll, beforeAll, expect, test } from 'vitest';
import { startNetwork } from './network.ts';
import type { Network } from './network.ts';
import { results, run } from './run-program.ts';

let network: Network;
beforeAll(async () => {
  network = await startNetwork();
});
afterAll(() => network.close());

const module = (path: string): string => JSON.stringify(new URL(path, import.meta.url));
const PRELUDE = `
  import net from 'node:net';
  import http from 'node:http';
  import { install } from ${module('../dist/index.js')};
  import { proxyGroup } from ${module('../../core/dist/index.js')};
  const proxy = process.env.SOCKS_PROXY;
  const send = () => new Promise((resolve, reject) => http.get(http1, resolve).on('error', reject)).then(read);
  const get = async () => (await fetch(http1)).text();
  const dial = () => read(net.connect(Number(HTTP), 'origin.test').end(HEAD));
`;

async function program(source: string): Promise<{ found: Record<string, string>; direct: number }> {
  const before = network.direct();
  const ended = await run(network, `${PRELUDE}${source}\nprocess.exit();`, {}, []);
  return { found: results(ended), direct: network.direct() - before };
}

test.each([
  ['a selector', `() => proxy`],
  [
    'a selector that answers with a promise',
    `async () => { await new Promise(setImmediate); return proxy; }`,
  ],
  ['a selector that answers with a chain', `async () => [proxy, proxy]`],
  ['a chain', `[proxy, proxy]`],
  ['a group', `proxyGroup(['socks5://127.0.0.1:1', proxy])`],
])('%s leads http, fetch and, under tcp, sockets to the site', async (_, route) => {
  const { found, direct } = await program(
    `install({ proxy: ${route}, strict: 'tcp' });
     await attempt('http', send);
     await attempt('fetch', get);
     await attempt('net', dial);`,
  );
  expect(found).toEqual({ http: 'hello', fetch: 'hello', net: 'hello' });
  expect(direct).toBe(0);
});

test('the error of a group keeps what each member failed with, for the loopback too', async () => {
  const { found } = await program(
    `install({ proxy: proxyGroup(['socks5://127.0.0.1:1', 'socks5://127.0.0.1:2']) });
     await attempt('loopback', () => new Promise((resolve) => {
       http.get('http://127.0.0.1:9/').on('error', (error) => {
         const { errors } = error;
         resolve([...errors.map(({ proxy }) => proxy), errors.at(-1) === error, Object.isFrozen(errors)].join());
       });
     }));`,
  );
  expect(found).toEqual({ loopback: 'socks5://127.0.0.1:1,socks5://127.0.0.1:2,true,true' });
});

test('a selector gets the name, the port and the protocol of each connection, and is called once for it', async () => {
  const { found } = await program(
    `const seen = [];
     install({ strict: 'tcp', proxy: async ({ host, port, protocol }) => {
       seen.push(host + ' ' + (port === Number(HTTP)) + ' ' + protocol);
       return proxy;
     } });
     await send();
     await get();
     await dial();
     console.log('seen: ' + seen.join(', '));`,
  );
  expect(found).toEqual({
    seen: 'origin.test true http:, origin.test true http:, origin.test true undefined',
  });
});

test('the signal of a selector aborts when its request or socket is destroyed, and when install() is undone', async () => {
  const { found } = await program(
    `const aborted = [];
     let asked = () => {};
     const proxies = (name) => ({ strict: 'tcp', proxy: (_, { signal }) => {
       signal.addEventListener('abort', () => { console.log(name + ': aborted'); aborted.push(name); asked(); });
       asked();
       return new Promise(() => {});
     } });
     const once = () => new Promise((resolve) => { asked = resolve; });
     const end = async (name, begin, stop) => {
       const undo = install(proxies(name));
       let called = once();
       const begun = begin();
       await called;
       called = once();
       stop(begun, undo);
       await called;
       undo();
     };
     const request = () => http.get(http1).on('error', () => {});
     const socket = () => net.connect(Number(HTTP), 'origin.test').on('error', () => {});
     await end('http', request, (req) => req.destroy());
     await end('net', socket, (opened) => opened.destroy());
     await end('undone', socket, (_, undo) => undo());`,
  );
  expect(found).toEqual({ http: 'aborted', net: 'aborted', undone: 'aborted' });
});

test('what a selector throws or rejects with is the error of the request, and nothing is direct', async () => {
  const { found, direct } = await program(
    `const error = Object.assign(new Error('no'), { code: 'ERR_OF_THE_SELECTOR' });
     install({ proxy: () => { throw error; } });
     await attempt('thrown', get);
     install({ proxy: async () => { throw error; } });
     await attempt('rejected', send);`,
  );
  expect(found).toEqual({ thrown: 'ERR_OF_THE_SELECTOR', rejected: 'ERR_OF_THE_SELECTOR' });
  expect(direct).toBe(0);
});

test('a selector that answers undefined makes this connection direct, and no other', async () => {
  const { found, direct } = await program(
    `install({ proxy: async ({ host }) => (host === '127.0.0.1' ? undefined : proxy) });
     await attempt('direct', async () => (await fetch('http://127.0.0.1:' + HTTP)).text());
     await attempt('proxied', get);`,
  );
  expect(found).toEqual({ direct: 'hello', proxied: 'hello' });
  expect(direct).toBe(1);
});
