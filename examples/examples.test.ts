// Every example, run as its first line says, against the reference server. Names exist for the proxy only.

import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { createSecureServer } from 'node:http2';
import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { startServer } from '@socksify/server';
import type { SocksServer } from '@socksify/server';
import {
  bytes,
  CERTIFICATE_FILE,
  freePort,
  listen,
  runProgram,
  startSite,
  stopListening,
  TLS,
} from '@socksify/support';
import type { Site } from '@socksify/support';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { WebSocketServer } from 'ws';

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

let site: Site;
let server: SocksServer;
let proxy: string;
let http: string;
let https: string;

beforeEach(async () => {
  site = await startSite();
  server = await startServer({ names: { 'origin.test': '127.0.0.1' }, users: 'any', allowAnonymous: true });
  proxy = server.url('socks5');
  http = `http://origin.test:${site.http}/`;
  https = `https://origin.test:${site.https}/`;
});
afterEach(async () => {
  await server.close();
  await site.close();
});

async function run(name: string, args: readonly string[], env: Record<string, string> = {}): Promise<string> {
  const options = { env: { ...process.env, NODE_EXTRA_CA_CERTS: CERTIFICATE_FILE, ...env }, timeout: 10_000 };
  const { stdout, ...ending } = await runProgram(process.execPath, [here(name), ...args], options);
  expect(ending).toEqual({ stderr: '', status: 0, signal: null });
  return stdout;
}

/** The destinations of the requests at the proxy: always the name. */
function requested(): string[] {
  return server.log.map(({ form, atyp, host }) => `${form} ${atyp} ${host}`);
}

const NAME = '5 name origin.test';

test('http-agent.js prints what it should', async () => {
  const output = await run('http-agent.js', [proxy, http, https]);
  expect(output).toContain(`${http} 200`);
  expect(output).toContain(`${https} 200`);
  expect(requested()).toEqual([NAME, NAME]);
});

test.each(['fetch-dispatcher.js', 'fetch-global.js', 'axios.js', 'got.js', 'node-fetch.js', 'superagent.js'])(
  '%s prints what it should',
  async (name) => {
    for (const url of [http, https]) expect(await run(name, [proxy, url])).toBe('200 hello\n');
    expect(requested()).toEqual([NAME, NAME]);
  },
);

test('axios and got connect directly with one agent of two, so their examples set both', async () => {
  const source = `
    import { SocksAgent } from '@socksify/agent';
    import axios from 'axios';
    import got from 'got';
    const [proxy, http, https] = process.argv.slice(1);
    const agent = new SocksAgent(proxy);
    await axios.get(http, { agent });
    await axios.get(http, { httpsAgent: agent, proxy: false });
    await axios.get(https, { httpAgent: agent, proxy: false });
    await got(http, { agent: { https: agent } });
    await got(https, { agent: { http: agent } });
    console.log('five answers');`;
  const urls = [`http://127.0.0.1:${site.http}/`, `https://127.0.0.1:${site.https}/`];
  const args = ['--input-type=module', '--eval', source, proxy, ...urls];
  const env = { ...process.env, NODE_EXTRA_CA_CERTS: CERTIFICATE_FILE };
  const ended = await runProgram(process.execPath, args, { cwd: here('.'), env, timeout: 10_000 });
  expect(ended).toMatchObject({ stdout: 'five answers\n', stderr: '', status: 0 });
  expect(requested()).toEqual([]);
});

test('environment.js prints what it should', async () => {
  expect(await run('environment.js', [https], { SOCKS_PROXY: server.url('socks4a') })).toMatch(
    /hello\s*hello/,
  );
  expect(requested()).toEqual(['4a name origin.test', '4a name origin.test']);
});

test('tor-isolation.js prints what it should', async () => {
  expect(await run('tor-isolation.js', [proxy, http])).toBe('200 hello\n200 hello\n');
  const [first, second] = server.log.map(({ user }) => user);
  expect(first).toMatch(/^[0-9a-f-]{36}$/);
  expect(second).toMatch(/^[0-9a-f-]{36}$/);
  expect(first).not.toBe(second);
});

/** A proxy that knows the same names, for the examples with several. */
async function startSecond(): Promise<SocksServer & AsyncDisposable> {
  const second = await startServer({
    names: { 'origin.test': '127.0.0.1' },
    users: 'any',
    allowAnonymous: true,
  });
  return Object.assign(second, { [Symbol.asyncDispose]: () => second.close() });
}

test('rotate.js prints what it should', async () => {
  await using second = await startSecond();
  const dead = `socks5://127.0.0.1:${await freePort()}`;
  const output = await run('rotate.js', [proxy, dead, second.url('socks5'), http]);
  expect(output.split('\n')).toEqual([
    ...Array.from({ length: 6 }, () => '200 hello'),
    `${proxy} ready `,
    `${dead} resting ERR_SOCKS_PROXY_UNREACHABLE`,
    `${second.url('socks5')} ready `,
    '',
  ]);
  // Connections are kept, so that a proxy can have fewer of them than requests.
  expect(server.log.length).toBeGreaterThan(0);
  expect(second.log.length).toBeGreaterThan(0);
});

test('failover.js prints what it should', async () => {
  const dead = `socks5://127.0.0.1:${await freePort()}`;
  for (const url of [http, https]) expect(await run('failover.js', [dead, proxy, url])).toBe('hello');
  expect(requested()).toEqual([NAME, NAME]);
  const [one = '', ...others] = (await run('failover.js', [dead, dead, http])).split('\n');
  expect(one).toBe(`${dead}: ERR_SOCKS_PROXY_UNREACHABLE in dial`);
  expect(others[1]).toContain('connecting to the proxy failed');
});

test('sticky-accounts.js prints what it should', async () => {
  await using second = await startSecond();
  const output = await run('sticky-accounts.js', [proxy, second.url('socks5'), http]);
  expect(output).toBe('alice hello\nbob hello\nalice hello\nbob hello\n');
});

test('tor-per-request.js prints what it should', async () => {
  const output = await run('tor-per-request.js', [proxy, http]);
  expect(output).toBe('200 hello\n200 hello\n200 hello\n');
  expect(new Set(server.log.map(({ user }) => user)).size).toBe(3);
});

test('websocket-ws.js prints what it should', async () => {
  const sockets = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  sockets.on('connection', (socket) =>
    socket.on('message', (data: Buffer) => socket.send(`${data.toString()} yourself`)),
  );
  await once(sockets, 'listening');
  const { port } = sockets.address() as { port: number };
  expect(await run('websocket-ws.js', [proxy, `ws://origin.test:${port}/`])).toBe('hello yourself\n');
  sockets.close();
});

test('raw-tunnel.js prints what it should', async () => {
  expect(await run('raw-tunnel.js', [proxy, 'origin.test', String(site.http)])).toContain('hello');
  expect(requested()).toEqual([NAME]);
});

test('http2.js prints what it should', async () => {
  const secure = createSecureServer(TLS, (_, response) => response.end('hello'));
  await using destination = await startTcp(secure);
  const url = `https://origin.test:${destination.port}/`;
  expect(await run('http2.js', [proxy, url])).toBe('h2 200\nhello\n');
  expect(requested()).toEqual([NAME]);
});

test('own-transport.js prints what it should', async () => {
  expect(await run('own-transport.js', [])).toContain('the proxy is bound to');
});

test('openai.js prints what it should', async () => {
  const paths: unknown[] = [];
  const api = createHttpServer((request, response) => {
    paths.push(request.url, request.headers.authorization);
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ choices: [{ message: { role: 'assistant', content: 'hello' } }] }));
  });
  await using destination = await startTcp(api);
  expect(await run('openai.js', [proxy, `http://origin.test:${destination.port}/v1`, 'key'])).toBe('hello\n');
  expect(paths).toEqual(['/v1/chat/completions', 'Bearer key']);
  expect(requested()).toEqual([NAME]);
});

test('aws-s3.js prints what it should', async () => {
  // The SDK announces the end of its support for older versions of Node.
  const env = { AWS_ACCESS_KEY_ID: 'id', AWS_SECRET_ACCESS_KEY: 'secret', NODE_NO_WARNINGS: '1' };
  for (const url of [http, https])
    expect(await run('aws-s3.js', [proxy, url, 'bucket', 'key'], env)).toBe('hello\n');
  expect(requested()).toEqual([NAME, NAME]);
});

test('nodemailer.js prints what it should', async () => {
  const said: string[] = [];
  const smtp = createServer((socket) => {
    let inData = false;
    socket.write('220 mail.test\r\n');
    createInterface(socket).on('line', (line) => {
      if (inData && line !== '.') return;
      said.push(line.split(' ')[0] ?? '');
      if (line === 'DATA') socket.write('354 send the message\r\n');
      else if (line === 'QUIT') socket.end('221 bye\r\n');
      else socket.write('250 taken\r\n');
      inData = line === 'DATA';
    });
  });
  await using destination = await startTcp(smtp);
  const args = [proxy, 'origin.test', String(destination.port), 'me@origin.test', 'you@origin.test'];
  expect(await run('nodemailer.js', args)).toBe('250 taken\n');
  expect(said.slice(0, 5)).toEqual(['EHLO', 'MAIL', 'RCPT', 'DATA', '.']);
  expect(requested()).toEqual([NAME]);
});

test('pg.js prints what it should', async () => {
  const message = (type: string, body: Buffer): Buffer => {
    const head = Buffer.alloc(5);
    head.write(type);
    head.writeInt32BE(body.length + 4, 1);
    return Buffer.concat([head, body]);
  };
  const ready = message('Z', Buffer.from('I'));
  // One column, "one", of type int4, as text; one row, "1".
  const column = bytes('0001 6f6e6500 00000000 0000 00000017 0004 ffffffff 0000');
  const row = bytes('0001 00000001 31');
  const database = createServer((socket) => {
    socket.once('data', () => {
      socket.write(Buffer.concat([message('R', Buffer.alloc(4)), ready]));
      socket.on('data', (data: Buffer) => {
        if (data.toString('latin1', 0, 1) !== 'Q') {
          socket.end();
          return;
        }
        const done = message('C', Buffer.from('SELECT 1\0'));
        socket.write(Buffer.concat([message('T', column), message('D', row), done, ready]));
      });
    });
  });
  await using destination = await startTcp(database);
  expect(await run('pg.js', [proxy, 'origin.test', String(destination.port), 'me'])).toBe('[ { one: 1 } ]\n');
  expect(requested()).toEqual([NAME]);
});

test('ioredis.js prints what it should', async () => {
  const redis = createServer((socket) => {
    socket.on('data', (data: Buffer) => {
      for (const [, command = ''] of data.toString().matchAll(/\*\d+\r\n\$\d+\r\n(\w+)\r\n/g)) {
        const replies: Record<string, string> = {
          hello: '%0\r\n',
          info: '$9\r\nloading:0\r\n',
          ping: '+PONG\r\n',
        };
        socket.write(replies[command.toLowerCase()] ?? '+OK\r\n');
      }
    });
    socket.on('error', () => {});
  });
  await using destination = await startTcp(redis);
  expect(await run('ioredis.js', [proxy, 'origin.test', String(destination.port)])).toBe('PONG\n');
  expect(requested()).toEqual([NAME]);
});

/** Lets the server listen until the end of the scope. */
async function startTcp(listener: Server): Promise<AsyncDisposable & { readonly port: number }> {
  const sockets: Socket[] = [];
  listener.on('connection', (socket: Socket) => sockets.push(socket));
  return {
    port: await listen(listener),
    [Symbol.asyncDispose]: () => stopListening(listener, sockets),
  };
}

test('every example is run here, and none is longer than thirty lines', () => {
  const tests = readFileSync(here('examples.test.ts'), 'utf8');
  for (const name of readdirSync(here('.')).filter((file) => file.endsWith('.js'))) {
    expect(tests, name).toContain(`'${name}'`);
    expect(readFileSync(here(name), 'utf8').trimEnd().split('\n').length, name).toBeLessThanOrEqual(30);
  }
});

test('the first line of an example names the proxies first, and then the URL', () => {
  for (const name of readdirSync(here('.')).filter((file) => file.endsWith('.js'))) {
    const [first = ''] = readFileSync(here(name), 'utf8').split('\n');
    const [, ...words] = first.slice(first.indexOf(`node ${name}`)).split(' ');
    expect(first, name).toContain(`node ${name}`);
    const proxies = words.slice(1).filter((word) => word.startsWith('socks5://'));
    expect(words.slice(1, 1 + proxies.length), name).toEqual(proxies);
  }
});

test('README.md lists every example with the packages that it imports', () => {
  const listed = readFileSync(here('README.md'), 'utf8').matchAll(
    /^\| \[(\S+)\]\(\1\) \| .+ \| `(.+)` \|$/gm,
  );
  const imported = readdirSync(here('.'))
    .filter((file) => file.endsWith('.js'))
    .map((file) => {
      const names = readFileSync(here(file), 'utf8').matchAll(/ from '((?!node:)[^']+)'/g);
      return [file, [...new Set(Array.from(names, ([, name = '']) => name))].toSorted().join(' ')];
    });
  expect(Object.fromEntries(Array.from(listed, ([, file, packages]) => [file, packages]))).toEqual(
    Object.fromEntries(imported),
  );
});
