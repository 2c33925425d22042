// A destination that never answers: a process that is stopped, with a full queue of connections.

import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { dialRaw, portHex, startDestination } from '@socksify/support';
import type { RawClient } from '@socksify/support';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startServer } from '../src/index.ts';
import type { SocksServer } from '../src/index.ts';

const PROGRAM = `
  const server = require('node:net').createServer();
  server.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => console.log(server.address().port));
`;

let stopped: ChildProcess;
let silent: number;
const queued: Socket[] = [];

beforeAll(async () => {
  stopped = spawn(process.execPath, ['-e', PROGRAM], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = (await once(stopped.stdout!, 'data')) as [Buffer];
  silent = Number(line.toString());
  stopped.kill('SIGSTOP');
  // One connection more than the backlog still gets in.
  for (let i = 0; i < 2; i++) {
    const socket = connect(silent, '127.0.0.1');
    queued.push(socket);
    await once(socket, 'connect');
  }
});

afterAll(() => {
  for (const socket of queued) socket.destroy();
  stopped.kill('SIGKILL');
});

/** A client whose request the server is dialling for. */
async function requestSilent({ port }: SocksServer): Promise<RawClient> {
  const client = await dialRaw(port);
  client.send(`04 01 ${portHex(silent)} 7f000001 00`);
  return client;
}

test('connectTimeout ends the attempt with REP 06 or CD 91', async () => {
  const server = await startServer({ connectTimeout: 40 });
  const client = await dialRaw(server.port);
  client.send(`05 01 00 05 01 00 01 7f000001 ${portHex(silent)}`);
  expect(await client.rest()).toBe('050005060001000000000000');
  const old = await dialRaw(server.port);
  old.send(`04 01 ${portHex(silent)} 7f000001 00`);
  expect(await old.rest()).toBe('005b000000000000');
  for (const { stream } of [client, old]) stream.destroy();
  await server.close();
});

test('a client that resets ends the attempt, and gets no answer', async () => {
  const server = await startServer();
  const client = await requestSilent(server);
  await once(server, 'received');
  client.stream.resetAndDestroy();
  await server.idle();
  expect(server.log).toMatchObject([{ reply: undefined, closed: true }]);
  await server.close();
});

test('a client that has only ended its side still gets an answer', async () => {
  const server = await startServer({ connectTimeout: 40 });
  const client = await requestSilent(server);
  client.stream.end();
  expect(await client.rest()).toBe('005b000000000000');
  await server.close();
});

test('close() ends an attempt in progress', async () => {
  const server = await startServer();
  const client = await requestSilent(server);
  await once(server, 'received');
  await server.close();
  expect(server.log).toMatchObject([{ reply: undefined, closed: true }]);
  client.stream.destroy();
});

test('the destination is dialled only after the request', async () => {
  let accepted = 0;
  const destination = await startDestination(() => accepted++);
  const server = await startServer();
  const client = await dialRaw(server.port);
  client.send('05 01 00');
  await client.receive(2);
  expect(accepted).toBe(0);
  client.send(`05 01 00 01 7f000001 ${destination.hex}`);
  await client.receive(10);
  expect(accepted).toBe(1);
  client.stream.destroy();
  await server.close();
  await destination.close();
});
