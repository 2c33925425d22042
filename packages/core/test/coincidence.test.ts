// Two things that happen in one turn: a connection fails while its attempt is stopped, or while its reply comes.

import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { Duplex } from 'node:stream';
import { closed, freePort, rejection } from '@socksify/support';
import { expect, test } from 'vitest';
import { connect } from '../src/index.ts';

const PROXY = 'socks5://127.0.0.1:1080';
const DESTINATION = { host: 'origin.test', port: 80 };

/** Sends nothing before it is told to. */
class Silent extends Duplex {
  override _read(): void {}
  override _write(_chunk: Buffer, _encoding: string, done: () => void): void {
    done();
  }
}

test.each([[new RangeError('enough')], [null], [0], ['text']])(
  'an abort with %s rejects with it, also when the connection fails just before',
  async (reason) => {
    const socket = new Silent();
    const abort = new AbortController();
    const failed = rejection(connect(PROXY, DESTINATION, { socket, signal: abort.signal }));
    socket.once('error', () => abort.abort(reason));
    socket.destroy(new Error('broken'));
    expect(await failed).toBe(reason);
  },
);

test.each([[new RangeError('enough')], [null]])(
  'an abort with %s rejects with it, also when the dial fails just before',
  async (reason) => {
    const port = await freePort();
    const abort = new AbortController();
    const lookup = (): void => abort.abort(reason);
    expect(
      await rejection(connect(`socks5://proxy.test:${port}`, DESTINATION, { lookup, signal: abort.signal })),
    ).toBe(reason);
  },
);

test('a socket that fails between the reply and the hand-over is reported as a proxy that closed', async () => {
  const socket = new Silent();
  // The write of the greeting fails before Node reports what the proxy has sent.
  socket.end();
  socket.push(Buffer.from('050005000001000000000000', 'hex'));
  expect(await rejection(connect(PROXY, DESTINATION, { socket }))).toMatchObject({
    code: 'ERR_SOCKS_PROXY_CLOSED',
    cause: { code: 'ERR_STREAM_WRITE_AFTER_END' },
  });
  expect(socket.destroyed).toBe(true);
});

test.each([
  ['input that is not valid', { host: '', port: 80 }, {}],
  ['an option that is not valid', DESTINATION, { timeout: -1 }],
])(
  'a socket that failed before it was handed in, with %s, ends no process',
  async (_, destination, options) => {
    const socket = new Silent();
    // Its error is emitted in a later turn.
    socket.destroy(new Error('broken'));
    const failed = rejection(connect(PROXY, destination, { ...options, socket }));
    expect(await failed).toMatchObject({ code: expect.stringMatching(/INVALID/) });
    await closed(socket);
  },
);

test('an object that only looks like a socket is refused as an option', async () => {
  const socket = { destroy() {} } as unknown as Duplex;
  expect(await rejection(connect(PROXY, DESTINATION, { socket }))).toMatchObject({
    code: 'ERR_INVALID_ARG_VALUE',
  });
});

test('a tunnel that never began sends neither start nor error to the diagnostics channels', async () => {
  const heard: string[] = [];
  const stops = ['start', 'end', 'error'].map((event) => {
    const listener = (): void => void heard.push(event);
    subscribe(`socksify:tunnel:${event}`, listener);
    return () => unsubscribe(`socksify:tunnel:${event}`, listener);
  });
  await rejection(connect(PROXY, DESTINATION, { signal: AbortSignal.abort() }));
  for (const stop of stops) stop();
  expect(heard).toEqual([]);
});
