// Options that are `undefined`: in any position, beside any other options, they change nothing.

import assert from 'node:assert/strict';
import { connect, SocksClient, SocksError } from '@socksify/core';
import type { ProxyLike } from '@socksify/core';
import { converse, encodeReply, negotiate, Refusal, REP } from '@socksify/server';
import fc from 'fast-check';
import { proxyOf } from './input.ts';
import { join } from './pair.ts';
import { count, defineProperty } from './property.ts';
import type { Property } from './property.ts';
import { outcomeOf } from './settling.ts';
import type { Outcome } from './settling.ts';

/** Makes the value of an option. `blank` adds what it can hold, as undefined; `tell` hears of calls. */
type Maker = (blank: boolean, tell: (what: string) => void) => unknown;

const undefinedOf = (blank: boolean, ...names: string[]): object =>
  blank ? Object.fromEntries(names.map((name) => [name, undefined])) : {};
const lookup: Maker =
  (_, tell) => (host: string, options: object, callback: (...args: unknown[]) => void) => {
    tell(`lookup ${host} ${JSON.stringify(options)}`);
    callback(null, [{ address: '192.0.2.7', family: 4 }]);
  };
const refusing: Maker = (_, tell) => (host: string, _options: object, callback: (error: Error) => void) => {
  tell(`lookup ${host}`);
  callback(new Error('no such name'));
};
const tcp =
  (options: object): Maker =>
  (blank) => ({
    ...undefinedOf(blank, 'localAddress', 'localPort', 'keepAlive', 'host', 'hints'),
    ...options,
  });
const tls =
  (options: object): Maker =>
  (blank) => ({ ...undefinedOf(blank, 'ca', 'cert', 'ciphers', 'servername', 'secureContext'), ...options });
const exactly =
  (value: unknown): Maker =>
  () =>
    value;
const aborted = AbortSignal.abort(new Error('aborted before'));

/** Valid ones and others: what is refused has to be refused alike. */
const MAKERS = {
  timeout: [exactly(0), exactly(10_000), exactly(-1), exactly('5'), exactly(Number.NaN)],
  lookup: [lookup, refusing, exactly('x')],
  tcp: [tcp({}), tcp({ family: 4 }), tcp({ family: 9 }), tcp({ localAddress: 'x' }), exactly(4)],
  auth: [exactly('auto'), exactly('required'), exactly('none'), exactly([])],
  pipeline: [exactly(true), exactly(false), exactly(1)],
  standby: [exactly(0), exactly(-1)],
  signal: [() => new AbortController().signal, exactly(aborted), exactly({})],
  tls: [tls({}), tls({ minVersion: 'x' }), exactly('yes')],
  prepare: [
    (_: boolean, tell: (what: string) => void) => () => tell('prepare'),
    exactly(() => {
      throw new Error('thrown by prepare');
    }),
    exactly(7),
  ],
} as const satisfies Record<string, readonly Maker[]>;

type Name = keyof typeof MAKERS;
const NAMES = Object.keys(MAKERS) as Name[];
/** Those of a client too; the others belong to one tunnel. */
const OF_CLIENT: ReadonlySet<string> = new Set(['timeout', 'lookup', 'tcp', 'auth', 'pipeline', 'standby']);

/** The options of one call: which, in which order, of which variant; undefined where there is no variant. */
type Call = readonly { readonly name: Name; readonly variant: number | undefined }[];

const call: fc.Arbitrary<Call> = fc
  .shuffledSubarray(NAMES, { minLength: 1 })
  .chain((names) =>
    fc.tuple(
      ...names.map((name) =>
        fc
          .option(fc.nat(MAKERS[name].length - 1), { nil: undefined, freq: 3 })
          .map((variant) => ({ name, variant })),
      ),
    ),
  );

function optionsOf(of: Call, blank: boolean, tell: (what: string) => void): Record<string, unknown> {
  const entries = of.flatMap(({ name, variant }) => {
    if (variant !== undefined) return [[name, (MAKERS[name][variant] as Maker)(blank, tell)]];
    return blank ? [[name, undefined]] : [];
  });
  return Object.fromEntries(entries) as Record<string, unknown>;
}

function divide(options: object): [ofClient: object, ofTunnel: object] {
  const [ofClient, ofTunnel] = [true, false].map((yes) =>
    Object.fromEntries(Object.entries(options).filter(([name]) => OF_CLIENT.has(name) === yes)),
  );
  return [ofClient ?? {}, ofTunnel ?? {}];
}

const login = fc.constantFrom(undefined, { username: 'user', password: 'secret' });
const route = fc.record({ version: fc.constantFrom<4 | 5>(5, 5, 4), login, local: fc.boolean() });
const scene = fc.record({
  route,
  host: fc.constantFrom('origin.test', '192.0.2.1', '2001:db8::1', ''),
  /** Over a connection in memory, or to a port where nothing listens. */
  socket: fc.boolean(),
  by: fc.constantFrom('connect', 'client', 'client and call'),
  call,
  extra: call,
});
type Scene = typeof scene extends fc.Arbitrary<infer T> ? T : never;

/** All that can be seen of an attempt. */
async function attempt(
  { route: { version, login: given, local }, ...how }: Scene,
  blank: boolean,
): Promise<unknown> {
  const told: string[] = [];
  const tell = (what: string): void => void told.push(what);
  const proxy = {
    ...undefinedOf(blank, 'tls', 'path', 'credentials'),
    ...proxyOf(version, given && (version === 4 ? { username: given.username } : given)),
    host: '127.0.0.1',
    port: 1,
    dns: local ? 'local' : 'remote',
  } as ProxyLike;
  const [client, server] = join();
  const serve = async (): Promise<unknown> => {
    try {
      const users = given && version === 5 ? { [given.username]: given.password } : undefined;
      const { host, port, user, method } = await converse(server, negotiate({ users }));
      server.end(Buffer.concat([encodeReply(version, REP.SUCCEEDED), Buffer.from('no TLS here')]));
      return { host, port, user, method };
    } catch (error) {
      if (error instanceof Refusal) server.write(error.answer);
      return 'no request';
    }
  };
  const served = serve();
  const options = optionsOf(how.call, blank, tell);
  const perCall = how.by === 'client and call' ? optionsOf(how.extra, blank, tell) : {};
  const to = { ...undefinedOf(blank, 'protocol'), host: how.host, port: 80 };
  const begin = async (): ReturnType<typeof connect> => {
    const socket = how.socket ? { socket: client } : undefinedOf(blank, 'socket', 'chain');
    if (how.by === 'connect') return connect(proxy, to, { ...options, ...socket });
    const [ofClient, ofTunnel] = divide(options);
    const [overriding] = divide(perCall);
    const socksClient = new SocksClient(proxy, ofClient);
    return socksClient.connect(to, { ...ofTunnel, ...overriding, ...socket });
  };
  const outcome = describe(await outcomeOf(begin));
  server.destroy();
  client.destroy();
  return { outcome, told, request: await served };
}

function describe(outcome: Outcome): unknown {
  if ('tunnel' in outcome) {
    outcome.tunnel.socket.on('error', () => {}).destroy();
    return { bound: outcome.tunnel.bound };
  }
  const { name, message, code, cause } = outcome.error as NodeJS.ErrnoException & { cause?: Error };
  return { name, code, message, cause: cause?.message };
}

const ends = { tunnel: 0, unreachable: 0, refused: 0, other: 0 };
const blanks = fc.asyncProperty(scene, async (how) => {
  const { route: of, call: given, extra } = how;
  // Here no name is looked up by the system.
  const looks = [...given, ...(how.by === 'client and call' ? extra : [])].some(
    ({ name, variant }) => name === 'lookup' && variant !== undefined,
  );
  fc.pre(looks || how.host !== 'origin.test' || (of.version === 5 && !of.local));
  const clean = await attempt(how, false);
  assert.deepEqual(await attempt(how, true), clean);
  const { code, bound } = (clean as { outcome: { code?: string; bound?: object } }).outcome;
  if (bound) count(ends, 'tunnel');
  else if (code === 'ERR_SOCKS_PROXY_UNREACHABLE') count(ends, 'unreachable');
  else count(ends, code === 'ERR_INVALID_ARG_VALUE' ? 'refused' : 'other');
});

const CLIENT_DEFAULTS = ['timeout', 'lookup', 'tcp', 'auth', 'pipeline'] as const;
const kept = { tunnel: 0, error: 0 };
/** Options of the client are not undone by an undefined option of the call. */
const keeps = fc.asyncProperty(
  fc.shuffledSubarray([...CLIENT_DEFAULTS], { minLength: 1 }),
  fc.constantFrom('auto', 'required'),
  login,
  async (names, auth, given) => {
    const [client, server] = join();
    const serve = async (): Promise<number | undefined> => {
      try {
        const request = await converse(server, negotiate({}));
        server.write(encodeReply(5, REP.SUCCEEDED));
        return request.method;
      } catch (error) {
        if (error instanceof Refusal) server.write(error.answer);
        return undefined;
      }
    };
    const looked: string[] = [];
    const options = { auth, timeout: 10_000, lookup: lookup(false, (what) => looked.push(what)) } as object;
    const proxy = { ...proxyOf(5, given), dns: 'local' as const };
    const undefinedOptions = Object.fromEntries(names.map((name) => [name, undefined]));
    const served = serve();
    const outcome = await outcomeOf(() =>
      new SocksClient(proxy, options).connect(
        { host: 'origin.test', port: 80 },
        {
          ...undefinedOptions,
          socket: client,
        },
      ),
    );
    // The look-up is the client's own; it does not come to it when there is nothing to offer.
    assert.equal(looked.length, auth === 'required' && !given ? 0 : 1);
    if ('tunnel' in outcome) {
      count(kept, 'tunnel');
      assert.equal(await served, 0);
      assert.ok(auth === 'auto' || !given);
    } else {
      count(kept, 'error');
      assert.ok(outcome.error instanceof SocksError);
      assert.equal(auth, 'required');
      const code = given ? 'ERR_SOCKS_NO_ACCEPTABLE_METHOD' : 'ERR_SOCKS_INVALID_CREDENTIALS';
      assert.equal(outcome.error.code, code);
    }
    server.destroy();
    client.destroy();
  },
);

export const OPTIONS: readonly Property[] = [
  defineProperty('an undefined option is as good as none', blanks, ends),
  defineProperty("an undefined option of a call leaves the client's in force", keeps, kept),
];
