// A program that is done ends by itself: no timer, no listener and no socket of ours keeps it, and nothing is on
// stderr. Each situation in a process of its own, which says when its work was over.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { startScript, startServer } from '@socksify/server';
import type { ScriptedServer, SocksServer } from '@socksify/server';
import { startSite } from '@socksify/support';
import type { Site } from '@socksify/support';
import { afterAll, beforeAll, expect, test } from 'vitest';

let web: Site;
let server: SocksServer;
let silent: ScriptedServer;
const echo = createServer((socket) => socket.on('error', () => {}).pipe(socket));
/** The addresses that each program gets, as `at`. */
let at: Readonly<Record<string, string | number>>;

beforeAll(async () => {
  web = await startSite();
  server = await startServer({ names: { 'origin.test': '127.0.0.1' } });
  silent = await startScript([{ stall: true }]);
  await once(echo.listen(0, '127.0.0.1'), 'listening');
  at = {
    proxy: server.url('socks5'),
    silent: silent.url('socks5'),
    echo: (echo.address() as AddressInfo).port,
    url: `http://origin.test:${web.http}/`,
    unknown: `http://unknown.test:${web.http}/`,
  };
});
afterAll(async () => {
  await silent.close();
  await server.close();
  await web.close();
  echo.close();
});

const PRELUDE = `
  import { once, getEventListeners } from 'node:events';
  import http from 'node:http';
  import { SocksAgent } from '@socksify/agent';
  import { connect, SocksClient } from '@socksify/core';
  import { SocksDispatcher } from '@socksify/undici';
  const at = JSON.parse(process.argv[1]);
  const there = { host: 'origin.test', port: at.echo };
  const code = (error) => error.code ?? error.cause?.code ?? error.name;
  const failed = (promise) => promise.then(() => 'no error', code);
  const get = (options) =>
    new Promise((resolve) => {
      http.get(options.url ?? at.url, options, (response) => {
        response.resume().on('end', () => resolve(response.statusCode));
      }).on('error', (error) => resolve(code(error)));
    });
`;

interface Ending {
  readonly output: string;
  readonly errors: string;
  readonly status: number | null;
  /** Milliseconds between the end of the work and the end of the process. */
  readonly lingered: number;
}

async function run(program: string): Promise<Ending> {
  const source = `${PRELUDE}\n${program}\nprocess.stdout.write(String(Date.now()));`;
  const args = ['--input-type=module', '--eval', source, JSON.stringify(at)];
  // From here the packages resolve as they do for these tests.
  const child = spawn(process.execPath, args, {
    cwd: fileURLToPath(new URL('.', import.meta.url)),
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 12_000,
  });
  const exited = once(child, 'exit').then(([status]) => ({
    status: status as number | null,
    when: Date.now(),
  }));
  const [stdout, errors, { status, when }] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    exited,
  ]);
  const [output = '', done = ''] = stdout.trim().split('\n');
  return { output, errors, status, lingered: when - Number(done) };
}

const PROGRAMS: readonly [what: string, program: string, output: string][] = [
  [
    'a tunnel',
    `const { socket } = await connect(at.proxy, there);
     console.log(String((await once(socket.end('hello'), 'data'))[0]));
     await once(socket, 'close');`,
    'hello',
  ],
  [
    'a tunnel that was destroyed',
    `const { socket } = await connect(at.proxy, there);
     socket.destroy();
     console.log('destroyed');`,
    'destroyed',
  ],
  [
    'a refusal',
    `console.log(await failed(connect(at.proxy, { host: 'unknown.test', port: 1 })));`,
    'ERR_SOCKS_HOST_UNREACHABLE',
  ],
  [
    'a proxy that is not there',
    `console.log(await failed(connect('socks5://127.0.0.1:1', there)));`,
    'ERR_SOCKS_PROXY_UNREACHABLE',
  ],
  [
    'bad input',
    `console.log(await failed(connect(at.proxy, { host: '', port: 1 }, { signal: new AbortController().signal })));`,
    'ERR_SOCKS_INVALID_DESTINATION',
  ],
  [
    'the time limit',
    `console.log(await failed(connect(at.silent, there, { timeout: 50 })));`,
    'ERR_SOCKS_TIMEOUT',
  ],
  [
    'an abort',
    `const abort = new AbortController();
     const { signal } = abort;
     setTimeout(() => abort.abort(), 50);
     console.log(await failed(connect(at.silent, there, { signal })), getEventListeners(signal, 'abort').length);`,
    '20 0',
  ],
  [
    'a client that was closed',
    `const client = new SocksClient(at.silent);
     setTimeout(() => client.close(), 50);
     console.log(await failed(client.connect(there)));`,
    'ERR_SOCKS_CLOSED',
  ],
  [
    'a client that was not closed',
    `const client = new SocksClient(at.proxy);
     const { socket } = await client.connect(there);
     await once(socket.resume().end(), 'close');
     console.log('done');`,
    'done',
  ],
  [
    'one signal for fifty tunnels, in turn and at once',
    `const { signal } = new AbortController();
     const tunnel = async () => (await connect(at.proxy, there, { signal })).socket.destroy();
     for (let i = 0; i < 50; i++) await tunnel();
     await Promise.all(Array.from({ length: 50 }, tunnel));
     await failed(connect(at.proxy, { host: 'unknown.test', port: 1 }, { signal }));
     console.log(getEventListeners(signal, 'abort').length);`,
    '0',
  ],
  ['a request', `console.log(await get({ agent: new SocksAgent(at.proxy) }));`, '200'],
  [
    'a request with keep-alive, its socket left idle',
    `console.log(await get({ agent: new SocksAgent(at.proxy, { keepAlive: true }) }));`,
    '200',
  ],
  [
    'a request that was refused',
    `console.log(await get({ url: at.unknown, agent: new SocksAgent(at.proxy) }));`,
    'ERR_SOCKS_HOST_UNREACHABLE',
  ],
  [
    'a request with a time limit',
    `console.log(await get({ agent: new SocksAgent(at.silent, { connectTimeout: 50 }) }));`,
    'ERR_SOCKS_TIMEOUT',
  ],
  [
    'an agent destroyed in a handshake',
    `const agent = new SocksAgent(at.silent);
     setTimeout(() => agent.destroy(), 50);
     console.log(typeof (await get({ agent })));`,
    'string',
  ],
  [
    // At once, Node 20 itself complains about the eleventh request with one signal.
    'one signal for fifty requests in turn',
    `const { signal } = new AbortController();
     const agent = new SocksAgent(at.proxy);
     const seen = new Set();
     for (let i = 0; i < 50; i++) seen.add(await get({ agent, signal }));
     console.log(...seen);`,
    '200',
  ],
  [
    'fetch, its socket left idle',
    `const response = await fetch(at.url, { dispatcher: new SocksDispatcher(at.proxy) });
     console.log(response.status, await response.text());`,
    '200 hello',
  ],
  [
    'fetch that was refused',
    `console.log(await failed(fetch(at.unknown, { dispatcher: new SocksDispatcher(at.proxy) })));`,
    'ERR_SOCKS_HOST_UNREACHABLE',
  ],
  [
    'fetch with a time limit',
    `console.log(await failed(fetch(at.url, { dispatcher: new SocksDispatcher(at.silent, { connectTimeout: 50 }) })));`,
    'ERR_SOCKS_TIMEOUT',
  ],
  [
    'fetch that was aborted in a handshake',
    `const abort = new AbortController();
     setTimeout(() => abort.abort(), 50);
     const dispatcher = new SocksDispatcher(at.silent);
     console.log(await failed(fetch(at.url, { dispatcher, signal: abort.signal })));`,
    '20',
  ],
  [
    'one signal for fifty fetches at once',
    `const { signal } = new AbortController();
     const dispatcher = new SocksDispatcher(at.proxy);
     const all = await Promise.all(
       Array.from({ length: 50 }, async () => (await fetch(at.url, { dispatcher, signal })).text()),
     );
     console.log(new Set(all).size, all[0]);`,
    '1 hello',
  ],
];

test.concurrent.each(PROGRAMS)(
  'after %s the process ends',
  { timeout: 30_000 },
  async (_, program, output) => {
    const ending = await run(program);
    expect(ending).toMatchObject({ output, errors: '', status: 0 });
    // undici keeps an idle connection for 4 s, an agent for ever, a time limit lasts 30 s.
    expect(ending.lingered).toBeLessThan(3_500);
  },
);
