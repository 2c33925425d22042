// Twenty of the programs in examples.ts, chosen by a seed, run with and without the command against the same servers: they
// print the same, and end with the same status. The proxy wants a password; with the command no connection is direct.

import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import net from 'node:net';
import type { AddressInfo, Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { startServer } from '@socksify/server';
import type { SocksServer } from '@socksify/server';
import { CERTIFICATE_FILE, freePort, TLS } from '@socksify/support';
import { Server as SocketServer } from 'socket.io';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { WebSocketServer } from 'ws';
import { COMMAND, execute } from '../../packages/socksify/test/run-program.ts';
import type { Ended } from '@socksify/support';
import { choose } from './examples.ts';

/** EXAMPLES_SEED chooses others, and EXAMPLES_COUNT more. */
const SEED = Number(process.env['EXAMPLES_SEED'] ?? 2026);
const COUNT = Number(process.env['EXAMPLES_COUNT'] ?? 20);
const chosen = choose(COUNT, SEED);

const folder = mkdtempSync(join(tmpdir(), 'socksify-examples-'));
const programs = mkdtempSync(join(import.meta.dirname, '.run-'));
const children: ChildProcess[] = [];
const servers: Server[] = [];
/** The remote port of every connection that came to a server. */
const hits: number[] = [];
let proxy: SocksServer;
let env: Record<string, string>;

function listen(server: Server): Promise<number> {
  servers.push(server);
  server.on('connection', ({ remotePort = 0 }) => hits.push(remotePort));
  server.listen(0, '127.0.0.1');
  return once(server, 'listening').then(() => (server.address() as AddressInfo).port);
}

/** Started from Debian's packages; what connects to it is counted in front of it. */
async function listenBefore(command: string, args: (port: number) => readonly string[]): Promise<number> {
  const port = await freePort();
  const path = `${process.env['PATH']}:/usr/sbin:/sbin`;
  children.push(spawn(command, args(port), { stdio: 'ignore', env: { PATH: path, HOME: folder } }));
  for (let opened = false; !opened; ) {
    const probe = net.connect(port, '127.0.0.1');
    opened = await new Promise((resolve) =>
      probe.on('connect', () => resolve(true)).on('error', () => resolve(false)),
    );
    probe.destroy();
    if (!opened) await delay(20);
  }
  const front = net.createServer((socket) => {
    const behind = net.connect(port, '127.0.0.1');
    socket.on('error', () => behind.destroy()).pipe(behind);
    behind.on('error', () => socket.destroy()).pipe(socket);
  });
  return listen(front);
}

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { pathname } = new URL(request.url ?? '/', 'http://site');
  const json = (value: unknown): void => {
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify(value));
  };
  if (pathname === '/json') json({ url: request.url, method: request.method });
  else if (pathname === '/headers') json(request.headers);
  else if (pathname === '/text') response.end('hello\n');
  else if (pathname === '/stream') for (let i = 0; i < 40; i++) response.write('x'.repeat(25_000));
  else if (pathname === '/redirect') response.writeHead(302, { location: '/text' }).end();
  else if (pathname === '/cookie') response.writeHead(200, { 'set-cookie': 'crumb=1' }).end();
  else if (pathname === '/busy') response.writeHead(503).end('busy');
  else if (pathname === '/reset') request.socket.destroy();
  else if (pathname === '/echo') {
    const type = request.headers['content-type'] ?? '';
    const body = await text(request);
    response.writeHead(200, { 'content-type': type || 'text/plain', 'x-type': type }).end(body);
  } else if (pathname !== '/never') response.writeHead(404).end('missing');
  if (pathname === '/stream') response.end();
}

beforeAll(async () => {
  proxy = await startServer({ users: { alice: 'secret' } });
  const respond = (request: IncomingMessage, response: ServerResponse): void =>
    void answer(request, response).catch(() => response.destroy());
  const sockets = createServer();
  const web = new WebSocketServer({ noServer: true });
  sockets.on('upgrade', (request, socket, head) => {
    if (request.url?.startsWith('/socket.io')) return;
    web.handleUpgrade(request, socket, head, (client) =>
      client.on('message', (data, binary) => client.send(data, { binary })),
    );
  });
  new SocketServer(sockets).on('connection', (client) => {
    client.emit('greeting', 'hello');
    client.on('double', (number: number, done: (result: number) => void) => done(number * 2));
  });
  const needs = (library: string): boolean => chosen.some((example) => example.library === library);
  env = {
    SITE: `http://127.0.0.1:${await listen(createServer(respond))}`,
    SECURE: `https://127.0.0.1:${await listen(createSecureServer(TLS, respond))}`,
    SOCKETS: `http://127.0.0.1:${await listen(sockets)}`,
  };
  if (needs('ioredis')) {
    const args = (port: number): string[] => ['--port', `${port}`, '--save', '', '--dir', folder];
    env['REDIS'] = `${await listenBefore('redis-server', args)}`;
  }
  if (needs('mqtt')) {
    env['MQTT'] = `${await listenBefore('mosquitto', (port) => {
      writeFileSync(join(folder, 'mqtt.conf'), `listener ${port} 127.0.0.1\nallow_anonymous true\n`);
      return ['-c', join(folder, 'mqtt.conf')];
    })}`;
  }
  if (needs('nodemailer')) {
    const args = (port: number): string[] => [
      '-n',
      '-l',
      `127.0.0.1:${port}`,
      '-c',
      'aiosmtpd.handlers.Sink',
    ];
    env['SMTP'] = `${await listenBefore('aiosmtpd', args)}`;
  }
});
afterAll(async () => {
  for (const child of children) child.kill('SIGKILL');
  for (const server of servers) {
    if ('closeAllConnections' in server) (server as ReturnType<typeof createServer>).closeAllConnections();
    server.close();
  }
  await proxy.close();
  rmSync(folder, { recursive: true, force: true });
  rmSync(programs, { recursive: true });
});

/** Connections since then that the proxy did not make. Ports of earlier ones may come again. */
function directSince(hit: number, request: number): number[] {
  const outgoing = new Set(proxy.log.slice(request).map(({ outgoingPort }) => outgoingPort));
  return hits.slice(hit).filter((port) => !outgoing.has(port));
}

/** nodemailer says this where the loopback is the only interface, as in the namespace of the suite. */
const withoutNotice = (ended: Ended): Ended => ({
  ...ended,
  stderr: ended.stderr.replaceAll('Failed to resolve IPv4 addresses with current network\n', ''),
});

describe(`with the seed ${SEED}`, () => {
  test.each(chosen)(
    '$library, $follows: prints the same with the command, and dials nothing directly',
    async ({ library, follows, source, tcp }) => {
      const program = join(programs, `${library} ${follows}.mjs`.replaceAll(/[^\w.]+/g, '-'));
      writeFileSync(program, source);
      const common = { ...env, NODE_EXTRA_CA_CERTS: CERTIFICATE_FILE };
      const [before, requests] = [hits.length, proxy.log.length];
      const without = withoutNotice(await execute(process.execPath, [program], common));
      // The counter counts what is direct.
      expect(hits.length, without.stderr).toBeGreaterThan(before);
      expect(proxy.log.length).toBe(requests);

      const strict = tcp ? ['--strict=tcp'] : [];
      const hit = hits.length;
      const ended = await execute(process.execPath, [COMMAND, ...strict, process.execPath, program], {
        ...common,
        SOCKS_PROXY: proxy.url('socks5', { username: 'alice', password: 'secret' }),
      });
      expect(withoutNotice(ended)).toEqual(without);
      expect(directSince(hit, requests)).toEqual([]);
      expect(proxy.log.length).toBeGreaterThan(requests);
    },
  );
});
