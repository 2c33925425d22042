// Selectors that throw anything, reject with anything, answer nonsense, or never answer.

import assert from 'node:assert/strict';
import { Duplex } from 'node:stream';
import { inspect } from 'node:util';
import { connect, SocksClient, SocksError } from '@socksify/core';
import type { ProxySelector } from '@socksify/core';
import fc from 'fast-check';
import { unhex } from './bytes.ts';
import { proxyOf } from './input.ts';
import { count, defineProperty } from './property.ts';
import type { Property } from './property.ts';
import { outcomeOf, turns } from './settling.ts';

/** Grants every request. */
class Granting extends Duplex {
  #messages = 0;
  override _read(): void {}
  override _write(_chunk: Buffer, _encoding: string, done: () => void): void {
    this.push(unhex(this.#messages++ === 0 ? '0500' : '05000001000000000000'));
    done();
  }
}

/** Anything at all, functions and promises apart, which mean something as an answer. */
const anything: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom<unknown>(undefined, null, 0, -0, Number.NaN, '', false, 7n, Symbol('s'), new Date(0), /x/),
  fc.constantFrom<unknown>(
    new Error('e'),
    new TypeError('t'),
    new RangeError('r'),
    new AggregateError([], 'a'),
  ),
  fc.anything({ withNullPrototype: true, withSparseArray: true, withMap: true, withBigInt: true }),
);

const good = proxyOf(5);
const GOOD: fc.Arbitrary<unknown> = fc.constantFrom<unknown>(
  good,
  'socks5://proxy.test',
  new URL('socks5://proxy.test'),
  ['socks5://proxy.test'],
);
/** Nearly right, and wrong: never a proxy, never `undefined`. */
const nonsense: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom<unknown>(
    null,
    false,
    true,
    0,
    Number.NaN,
    7n,
    Symbol('proxy'),
    '',
    ' ',
    'direct',
    'http://proxy.test',
    'socks5://',
    [],
    [undefined],
    [null],
    [[good]],
    ['socks5://proxy.test', null],
    {},
    { ...good, version: 6 },
    { ...good, host: '' },
    { ...good, port: 0 },
    { ...good, port: Number.NaN },
    { ...good, dns: 'none' },
    { ...good, credentials: 7 },
    { ...good, credentials: {} },
    { ...good, credentials: null },
    { ...good, credentials: { username: 'x'.repeat(256) } },
    () => good,
  ),
  fc.anything({ withNullPrototype: true }).filter((value) => value !== undefined && !isChain(value)),
);

function isChain(value: unknown): boolean {
  return typeof value === 'string' && /^\s*socks/i.test(value);
}

type Kind = 'answers' | 'throws' | 'is wrong' | 'never answers';
interface Behaviour {
  readonly kind: Kind;
  readonly value: unknown;
  /** How the value comes: at once, or by a promise, or by an object with `then` that is none. */
  readonly by: 'value' | 'promise' | 'later' | 'thenable' | 'insistent thenable';
}

const by = fc.constantFrom<Behaviour['by']>('value', 'promise', 'later', 'thenable', 'insistent thenable');
const behaviour: fc.Arbitrary<Behaviour> = fc.oneof(
  fc.record({ kind: fc.constant<Kind>('answers'), value: GOOD, by }),
  fc.record({ kind: fc.constant<Kind>('throws'), value: anything, by }),
  fc.record({ kind: fc.constant<Kind>('is wrong'), value: nonsense, by }),
  fc.record({
    kind: fc.constant<Kind>('never answers'),
    value: fc.constant(undefined),
    by: fc.constantFrom<Behaviour['by']>('promise', 'thenable'),
  }),
);

function selectorOf({ kind, value, by: form }: Behaviour): ProxySelector {
  const settle = (resolve: (value: unknown) => void, reject: (reason: unknown) => void): void => {
    if (kind === 'throws') reject(value);
    else if (kind !== 'never answers') resolve(value);
  };
  const insist = (resolve: (value: unknown) => void, reject: (reason: unknown) => void): void => {
    settle(resolve, reject);
    reject(new Error('said too late'));
    resolve('socks5://too.late');
    throw new Error('thrown too late');
  };
  const answers: Record<Behaviour['by'], () => unknown> = {
    value() {
      if (kind === 'throws') throw value;
      return value;
    },
    promise: () => new Promise(settle),
    later: () => new Promise((resolve, reject) => void setImmediate(settle, resolve, reject)),
    // oxlint-disable-next-line unicorn/no-thenable -- that is the point
    thenable: () => ({ then: settle }),
    // oxlint-disable-next-line unicorn/no-thenable -- that is the point
    'insistent thenable': () => ({ then: insist }),
  };
  return answers[form] as ProxySelector;
}

const limits = fc.oneof(
  fc.record({ timeout: fc.constant(3), abortAfter: fc.constant(undefined) }),
  fc.record({ timeout: fc.constant(10_000), abortAfter: fc.nat(5) }),
  fc.record({ timeout: fc.constant(0), abortAfter: fc.nat(5) }),
);

const ends = { tunnel: 0, "the selector's own": 0, refused: 0, timeout: 0, aborted: 0 };
const selectors = fc.asyncProperty(
  behaviour,
  limits,
  fc.constantFrom('connect', 'client', 'select'),
  async (how, { timeout, abortAfter }, entry) => {
    const socket = new Granting();
    const abort = new AbortController();
    const { signal } = abort;
    const reason = new RangeError('aborted by the caller');
    const abortLater = async (): Promise<void> => {
      if (abortAfter === undefined) return;
      await turns(abortAfter);
      abort.abort(reason);
    };
    const to = { host: 'origin.test', port: 80 };
    const selector = selectorOf(how);
    const begin = async (): ReturnType<typeof connect> => {
      if (entry === 'connect') return connect(selector, to, { socket, signal, timeout });
      const client = new SocksClient(selector, { timeout });
      if (entry === 'client') return client.connect(to, { socket, signal });
      const chain = await client.select(to, { signal });
      return client.connect(to, { chain, socket });
    };
    const aborting = abortLater();
    const outcome = await outcomeOf(begin, signal);
    await aborting;
    if (entry === 'select' && !('tunnel' in outcome)) socket.destroy();

    if ('tunnel' in outcome) {
      count(ends, 'tunnel');
      assert.equal(how.kind, 'answers');
      assert.equal(outcome.tunnel.socket, socket);
      socket.destroy();
      return;
    }
    const { error } = outcome;
    assert.equal(socket.destroyed, true);
    if (error === reason && abortAfter !== undefined) {
      count(ends, 'aborted');
    } else if (how.kind === 'throws' && Object.is(error, how.value)) {
      count(ends, "the selector's own");
    } else {
      assert.ok(error instanceof SocksError, inspect(error));
      if (error.code === 'ERR_SOCKS_TIMEOUT') {
        count(ends, 'timeout');
        assert.equal(timeout, 3);
        return;
      }
      count(ends, 'refused');
      assert.equal(how.kind, 'is wrong');
      assert.match(error.code, /^ERR_SOCKS_INVALID_(?:PROXY|CREDENTIALS)$/);
    }
  },
);

export const SELECTORS: readonly Property[] = [
  defineProperty('a selector can do what it likes, and its caller gets one answer', selectors, ends),
];
