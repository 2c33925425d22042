// Sockets that are handed in and do anything: afterwards such a socket is the tunnel, or it is destroyed once.

import assert from 'node:assert/strict';
import { Duplex } from 'node:stream';
import type { DuplexOptions } from 'node:stream';
import { connect, SocksClient } from '@socksify/core';
import type { ConnectOptions, ProxyRoute, Tunnel } from '@socksify/core';
import fc from 'fast-check';
import { unhex } from './bytes.ts';
import { proxyOf } from './input.ts';
import { count, defineProperty } from './property.ts';
import type { Property } from './property.ts';
import { isTyped, outcomeOf, turns } from './settling.ts';

/** What a socket can do by itself, and what it can do with a write. */
const ACTIONS = {
  'says 05 00': (socket: Scripted) => socket.push(unhex('0500')),
  'says 05 02': (socket: Scripted) => socket.push(unhex('0502')),
  'says 01 00': (socket: Scripted) => socket.push(unhex('0100')),
  grants: (socket: Scripted) => socket.push(unhex('05000001000000000000')),
  'grants SOCKS4': (socket: Scripted) => socket.push(unhex('005a000000000000')),
  'grants everything': (socket: Scripted) => socket.push(unhex('050005000001000000000000')),
  'says one byte': (socket: Scripted) => socket.push(unhex('05')),
  'says junk': (socket: Scripted) => socket.push(unhex('485454502f312e31')),
  'says nothing': (socket: Scripted) => socket.push(Buffer.alloc(0)),
  ends: (socket: Scripted) => socket.push(null),
  'is destroyed': (socket: Scripted) => socket.end(),
  fails: (socket: Scripted) => socket.breakOff(new Error('broken')),
  closes: (socket: Scripted) => socket.breakOff(),
  'emits error': (socket: Scripted) => socket.emit('error', new Error('emitted')),
  'emits close': (socket: Scripted) => socket.emit('close'),
  'emits end': (socket: Scripted) => socket.emit('end'),
  'is paused': (socket: Scripted) => socket.pause(),
  'fails the next write': (socket: Scripted) => void (socket.onWrite = 'fail'),
  'stalls the next write': (socket: Scripted) => void (socket.onWrite = 'stall'),
} as const;
type Action = keyof typeof ACTIONS;
/** The others leave the socket to whoever has it. */
const BREAKS: ReadonlySet<string> = new Set<Action>([
  'ends',
  'is destroyed',
  'fails',
  'closes',
  'emits error',
  'emits close',
  'emits end',
  'fails the next write',
]);

class Scripted extends Duplex {
  onWrite: 'pass' | 'fail' | 'stall' = 'pass';
  /** By others than the script. */
  destroyCalls = 0;
  destructions = 0;
  #breaking = false;
  readonly #answers: Action[];

  constructor(options: DuplexOptions, answers: readonly Action[]) {
    super(options);
    this.#answers = [...answers];
  }

  /** Carries out an action unless the socket is gone. */
  act(action: Action): void {
    if (!this.destroyed) ACTIONS[action](this);
  }

  breakOff(error?: Error): void {
    this.#breaking = true;
    this.destroy(error);
    this.#breaking = false;
  }

  override destroy(error?: Error): this {
    if (!this.#breaking) this.destroyCalls++;
    return super.destroy(error);
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    this.destructions++;
    callback(error);
  }

  override _read(): void {}

  override _write(_chunk: unknown, _encoding: string, done: (error?: Error) => void): void {
    const how = this.onWrite;
    this.onWrite = 'pass';
    const answer = this.#answers.shift();
    if (answer) setImmediate(() => this.act(answer));
    if (how === 'fail') done(new Error('not written'));
    else if (how === 'pass') done();
  }
}

/** The listener of whoever has the socket, before it is handed in and after. */
const ignore = (): void => {};

const action = fc.constantFrom(...(Object.keys(ACTIONS) as Action[]));
const answers = fc.oneof(
  { weight: 3, arbitrary: fc.constant<Action[]>(['says 05 00', 'grants']) },
  { weight: 1, arbitrary: fc.constant<Action[]>(['says 05 02', 'says 01 00', 'grants']) },
  { weight: 1, arbitrary: fc.constant<Action[]>(['grants everything']) },
  { weight: 3, arbitrary: fc.array(action, { maxLength: 4 }) },
);

/** What is wrong besides; `nothing` most of the time. */
const INPUTS = {
  nothing: {},
  'a bad port': { port: 0 },
  'a bad host': { host: 'a b' },
  'a bad option': { options: { timeout: -1 } },
  'bad TLS options': { options: { tls: { minVersion: 'x' } } },
  'a bad proxy': { route: 'http://proxy.test' },
  'a selector that throws': {
    route: () => {
      throw new TypeError('thrown by the selector');
    },
  },
  'a selector that connects directly': { route: () => undefined },
  'a selector that never answers': { route: () => new Promise(() => {}) },
  'a prepare that throws': {
    options: {
      prepare: () => {
        throw new TypeError('thrown by prepare');
      },
    },
  },
  'TLS to a proxy that speaks none': { options: { tls: {} } },
} as const;
type Input = {
  readonly port?: number;
  readonly host?: string;
  readonly options?: object;
  readonly route?: unknown;
};

const situation = fc.record({
  input: fc.oneof(
    { weight: 5, arbitrary: fc.constant('nothing' as const) },
    { weight: 3, arbitrary: fc.constantFrom(...(Object.keys(INPUTS) as (keyof typeof INPUTS)[])) },
  ),
  stream: fc.record({
    allowHalfOpen: fc.boolean(),
    autoDestroy: fc.boolean(),
    emitClose: fc.boolean(),
    readableObjectMode: fc.integer({ min: 0, max: 9 }).map((n) => n === 0),
    readableHighWaterMark: fc.constantFrom(1, 65_536),
  }),
  text: fc.integer({ min: 0, max: 9 }).map((n) => n === 0),
  before: fc.oneof(
    { weight: 3, arbitrary: fc.constant<Action[]>([]) },
    { weight: 2, arbitrary: fc.array(action, { maxLength: 2 }) },
  ),
  answers,
  /** By themselves, one in each turn. */
  meanwhile: fc.oneof(
    { weight: 3, arbitrary: fc.constant<Action[]>([]) },
    { weight: 2, arbitrary: fc.array(action, { maxLength: 3 }) },
  ),
  limit: fc.oneof(
    { weight: 4, arbitrary: fc.nat(30).map((abortAfter) => ({ abortAfter })) },
    { weight: 1, arbitrary: fc.constant({ timeout: 2 }) },
  ),
  reason: fc.constantFrom<unknown>(new RangeError('aborted by the caller'), null, 0, '', Symbol('aborted')),
  credentials: fc.boolean(),
  version: fc.constantFrom<4 | 5>(5, 5, 5, 4),
  /** TLS to the proxy. */
  tls: fc.integer({ min: 0, max: 19 }).map((n) => n === 0),
  pipeline: fc.boolean(),
  client: fc.boolean(),
});

const ends = { tunnel: 0, 'error of ours': 0, 'invalid input': 0, aborted: 0, "the caller's own": 0 };
const sockets = fc.asyncProperty(
  situation,
  async ({ input, stream, text, before, meanwhile, limit, reason, ...how }) => {
    const socket = new Scripted(stream, how.answers);
    if (text) socket.setEncoding('utf8');
    socket.on('error', ignore);
    for (const one of before) socket.act(one);
    socket.off('error', ignore);
    const wasDestroyed = socket.destroyed;

    const { port = 80, host = 'origin.test', options = {}, route }: Input = INPUTS[input];
    const login = how.credentials ? { username: 'user' } : undefined;
    const proxy = (route ?? { ...proxyOf(how.version, login), ...(how.tls && { tls: {} }) }) as ProxyRoute;
    const abort = new AbortController();
    const given = {
      socket,
      signal: abort.signal,
      pipeline: how.pipeline,
      timeout: 10_000,
      ...('timeout' in limit && limit),
      lookup: () => assert.fail('a name was looked up'),
      ...options,
    } as unknown as ConnectOptions;
    const begin = (): Promise<Tunnel> =>
      // The constructor of a client takes no socket, and throws at once.
      how.client && input !== 'a bad proxy'
        ? new SocksClient(proxy).connect({ host, port }, given)
        : connect(proxy, { host, port }, given);

    const play = async (): Promise<void> => {
      for (const one of meanwhile) {
        await turns(1);
        // An error is the caller's business once the tunnel is the caller's.
        if (!over) socket.act(one);
      }
      if ('abortAfter' in limit) {
        await turns(limit.abortAfter);
        abort.abort(reason);
      }
    };
    let over = false;
    const playing = play();
    const outcome = await outcomeOf(async () => {
      try {
        const tunnel = await begin();
        tunnel.socket.on('error', ignore);
        return tunnel;
      } finally {
        over = true;
      }
    });
    await playing;

    if ('tunnel' in outcome) {
      count(ends, 'tunnel');
      assert.equal(outcome.tunnel.socket, socket);
      socket.destroy();
      return;
    }
    const { error } = outcome;
    const own = error instanceof TypeError && error.message.startsWith('thrown by');
    const aborted = abort.signal.aborted && error === reason;
    if (aborted) count(ends, 'aborted');
    else if (own) count(ends, "the caller's own");
    else if (isTyped(error)) count(ends, error instanceof TypeError ? 'invalid input' : 'error of ours');
    else if (input === 'bad TLS options' || input.startsWith('TLS to')) assert.ok(error instanceof Error);
    else throw error;
    assert.equal(socket.destroyed, true);
    assert.equal(socket.destructions, 1);
    // A stream that ends or fails may destroy itself; TLS destroys
    // what is below it. Otherwise there is one owner, which destroys once.
    const quiet = [...before, ...how.answers, ...meanwhile].every((one) => !BREAKS.has(one));
    if (quiet && !wasDestroyed && !how.tls && !input.startsWith('TLS to'))
      assert.equal(socket.destroyCalls, 1);
    // It is still ours, with all that it says later.
    await turns(1);
    socket.emit('error', new Error('late'));
  },
);

export const SOCKETS: readonly Property[] = [
  defineProperty('a socket that is handed in becomes the tunnel, or is destroyed once', sockets, ends),
];
