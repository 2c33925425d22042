// install() in a program that runs already: no http client uses a connection from the time before, and no connection
// that its program dialled beside it.

import { afterAll, beforeAll, expect, test } from 'vitest';
import { startNetwork } from './network.ts';
import type { Network } from './network.ts';
import { results, run } from './run-program.ts';
import type { Ended } from '@socksify/support';

let network: Network;
beforeAll(async () => {
  network = await startNetwork();
});
afterAll(() => network.close());

const [major = 0] = process.versions.node.split('.').map(Number);
const BYPASS = 'ERR_SOCKS_BYPASS';

const PRELUDE = `
  import http from 'node:http';
  import https from 'node:https';
  import net from 'node:net';
  import { once } from 'node:events';
  import { install } from ${JSON.stringify(new URL('../dist/index.js', import.meta.url))};
  // The site by its address: a program can connect to it directly, and through the proxy.
  const url = 'http://127.0.0.1:' + HTTP, secure = 'https://127.0.0.1:' + HTTPS;
  const to = { host: '127.0.0.1', port: Number(HTTP) };
  const send = (options = {}, module = http) => new Promise((resolve, reject) =>
    module.get(module === http ? url : secure, options, resolve).on('error', reject)).then(read);
  const idle = async () => { for (let i = 0; i < 20; i++) await new Promise(setImmediate); };
`;

async function program(source: string): Promise<{ ended: Ended; direct: number; proxied: number }> {
  const [direct, proxied] = [network.direct(), network.proxy.log.length];
  const ended = await run(network, `${PRELUDE}${source}\nprocess.exit();`, {}, []);
  return { ended, direct: network.direct() - direct, proxied: network.proxy.log.length - proxied };
}

test.each([
  ['the global agent', `const get = () => send();`],
  ['an agent', `const agent = new http.Agent({ keepAlive: true }); const get = () => send({ agent });`],
  [
    'an agent for https',
    `const agent = new https.Agent({ keepAlive: true, servername: 'origin.test' }); const get = () => send({ agent }, https);`,
  ],
  ['fetch', `const get = async () => (await fetch(url)).text();`],
  ...(major >= 22 ? ['undici6', 'undici7', 'undici8'] : ['undici6', 'undici7']).map((name) => [
    `a pool of ${name}`,
    `import { Pool } from '${name}'; const pool = new Pool(url, { connections: 1 });
     const get = async () => (await pool.request({ path: '/', method: 'GET' })).body.text();`,
  ]),
])('%s dials again, although it kept a direct connection open', async (_, source) => {
  const { ended, direct, proxied } = await program(
    `${source}
     await attempt('before', get);
     await idle();
     install();
     await attempt('after', get);`,
  );
  expect(results(ended)).toEqual({ before: 'hello', after: 'hello' });
  expect([direct, proxied]).toEqual([1, 1]);
});

test.each([
  ['a request with a body', `pool.request({ path: '/', method: 'POST', body: 'body' })`],
  ['a request over HTTP/2', `h2.request({ path: '/', method: 'GET' })`],
])('%s fails on a direct connection that a pool kept open', async (_, request) => {
  const { ended, direct } = await program(
    `import { Pool } from 'undici7';
     const pool = new Pool(url, { connections: 1 });
     const h2 = new Pool('https://127.0.0.1:' + H2, { allowH2: true, connections: 1, connect: { servername: 'origin.test' } });
     const get = async () => (await ${request}).body.text();
     await get();
     await idle();
     install();
     await attempt('after', get);`,
  );
  expect(results(ended)).toEqual({ after: BYPASS });
  expect(direct).toBe(1);
});

test('a request that waits for a busy connection does not get it', async () => {
  const { ended, direct } = await program(
    `const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
     const first = send({ agent });
     const queued = send({ agent });
     install();
     await attempt('first', () => first);
     await attempt('queued', () => queued);`,
  );
  const found = results(ended);
  expect(found['queued']).toBe(BYPASS);
  expect(direct).toBeLessThanOrEqual(1);
});

test('a busy connection is closed behind its response, and the next request dials through the proxy', async () => {
  const { ended, direct, proxied } = await program(
    `const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
     const first = http.get(url, { agent });
     const [response] = await once(first, 'response');
     install();
     const second = send({ agent });
     await attempt('first', () => read(response));
     await attempt('second', () => second);`,
  );
  expect(results(ended)).toEqual({ first: 'hello', second: 'hello' });
  expect([direct, proxied]).toEqual([1, 1]);
});

test('a socket that was connected or connecting before is refused, and none of its bytes leave', async () => {
  const { ended } = await program(
    `const connected = net.connect(to);
     await once(connected, 'connect');
     const connecting = net.connect(to);
     install();
     await attempt('connected', () => send({ createConnection: () => connected }));
     await attempt('connecting', () => send({ createConnection: () => connecting }));
     console.log('written: ' + (connected.bytesWritten + connecting.bytesWritten));`,
  );
  expect(results(ended)).toEqual({ connected: BYPASS, connecting: BYPASS, written: '0' });
});

test('a socket that is connected only after a request got it is sent through the proxy', async () => {
  const { ended, direct, proxied } = await program(
    `const socket = new net.Socket();
     install();
     const response = send({ createConnection: () => socket });
     socket.connect(to);
     await attempt('http', () => response);`,
  );
  expect(results(ended)).toEqual({ http: 'hello' });
  expect([direct, proxied]).toEqual([0, 1]);
});

test('a socket that a server accepted is left to the request that gets it', async () => {
  const { ended } = await program(
    `install();
     const server = net.createServer();
     server.listen(0, '127.0.0.1');
     await once(server, 'listening');
     const other = net.connect(server.address().port, '127.0.0.1');
     const [accepted] = await once(server, 'connection');
     other.once('data', () => other.end('HTTP/1.0 200 OK\\r\\n\\r\\nhello'));
     await attempt('http', () => send({ createConnection: () => accepted }));`,
  );
  expect(results(ended)).toEqual({ http: 'hello' });
});

test('connections of an earlier installation stay in use', async () => {
  const { ended, direct, proxied } = await program(
    `const agent = new http.Agent({ keepAlive: true });
     install();
     await attempt('first', () => send({ agent }));
     await idle();
     install();
     await attempt('second', () => send({ agent }));`,
  );
  expect(results(ended)).toEqual({ first: 'hello', second: 'hello' });
  expect([direct, proxied]).toEqual([0, 1]);
});
