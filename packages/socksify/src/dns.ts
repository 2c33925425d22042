// Refuses questions to a name server. Look-ups of addresses, of listed names and of the loopback pass, and so do those
// that Node makes while it connects a socket that may be direct. Where TCP is tunnelled, other look-ups are answered with
// placeholders.

import type { LookupAddress } from 'node:dns';
import { isIP } from 'node:net';
import { parseHost } from '@socksify/core';
import { bindingOf } from './bindings.ts';
import { prototypeOfHandle } from './internals.ts';
import type { Patches } from './patches.ts';
import type { Placeholders } from './placeholders.ts';
import { isLoopback, refusal } from './policy.ts';
import type { Policy } from './policy.ts';
import { fieldOf, isObject } from './unknown.ts';

// Not imported: an import reads every export of a module of Node, and some of them load much.
const dns = process.getBuiltinModule('node:dns');

/** Functions that always send a question to a name server. `lookup` does so for some names only. */
const QUESTION = /^(?:resolve|reverse$|lookupService$)/;

type Lookup = (...args: unknown[]) => unknown;

export interface DnsOptions {
  readonly patches: Patches;
  readonly policy: Policy;
  /** True while Node looks this name up for a socket that may be direct. */
  readonly isConnecting: (name: string) => boolean;
  /** The answers to look-ups. Without placeholders, look-ups are refused. */
  readonly placeholders?: Placeholders | undefined;
}

export function watchDns({ patches, policy, isConnecting, placeholders }: DnsOptions): void {
  /** True for a name that a name server would get. The system knows `localhost`, but no other spelling of it. */
  const isQuestion = (name: unknown): name is string =>
    typeof name === 'string' &&
    name !== '' &&
    name.toLowerCase() !== 'localhost' &&
    !isConnecting(name) &&
    !policy.mayLookUp(name);
  /** Look-ups that Node has been told to make, and whose call has not returned yet. */
  let depth = 0;
  const lookUpBySystem = (
    original: Lookup,
    self: unknown,
    [name, ...others]: readonly unknown[],
  ): unknown => {
    depth++;
    try {
      return Reflect.apply(original, self, [isQuestion(name) ? loopbackOf(name) : name, ...others]);
    } finally {
      depth--;
    }
  };
  patches.wrap(dns, 'lookup', (original, self, args) => {
    const [name, options] = args;
    if (!isQuestion(name) || isLoopback(name)) return lookUpBySystem(original, self, args);
    const found = lookUp(name, options, placeholders);
    if (found instanceof Error) return answer(args, found);
    return Array.isArray(found) ? answer(args, null, found) : answer(args, null, found.address, found.family);
  });
  patches.wrap(dns.promises, 'lookup', async (original, self, args) => {
    const [name, options] = args;
    if (!isQuestion(name) || isLoopback(name)) return lookUpBySystem(original, self, args);
    const found = lookUp(name, options, placeholders);
    if (found instanceof Error) throw found;
    return found;
  });
  for (const object of [dns, dns.Resolver.prototype]) {
    for (const name of questionsOf(object)) {
      patches.wrap(object, name, (_original, _self, args) => answer(args, refusedQuestion(name, args[0])));
    }
  }
  for (const object of [dns.promises, dns.promises.Resolver.prototype]) {
    for (const name of questionsOf(object)) {
      patches.wrap(object, name, (_original, _self, args) => Promise.reject(refusedQuestion(name, args[0])));
    }
  }
  refuseNatively(patches, (name) => depth === 0 && isQuestion(name));
}

/**
 * What the system finds without a name server in place of a name of the loopback: `app.localhost` and `localhost.` are
 * `localhost`, and `127.0.0.1.` is an address only without its last dot.
 */
function loopbackOf(name: string): string {
  const host = parseHost(name) ?? '';
  return isIP(host) === 0 ? 'localhost' : host;
}

/** @param options of `lookup`: an object or a family. With `all` the answer is a list of one address */
function lookUp(
  name: string,
  options: unknown,
  placeholders: Placeholders | undefined,
): LookupAddress | LookupAddress[] | Error {
  const family = isObject(options) ? fieldOf(options, 'family') : Number(options);
  if (!placeholders || family === 6 || family === 'IPv6') return refusedQuestion('lookup', name);
  const found = { address: placeholders.addressOf(name), family: 4 };
  return fieldOf(options, 'all') ? [found] : found;
}

/** Refuses on the native side of every resolver too, and in the bindings that `process.binding` shows. */
function refuseNatively(patches: Patches, isQuestion: (name: unknown) => boolean): void {
  const channel = prototypeOfHandle(fieldOf(new dns.Resolver(), '_handle'));
  for (const name of Object.getOwnPropertyNames(channel)) {
    if (!/^(?:query|getHostByAddr)/.test(name)) continue;
    patches.wrap(channel, name, (_original, _self, args) => {
      throw refusedQuestion(name, args[1]);
    });
  }
  const bindings = bindingOf('cares_wrap');
  if (!bindings) return;
  patches.wrap(bindings, 'getaddrinfo', (original, self, args) => {
    if (!isQuestion(args[1])) return Reflect.apply(original, self, args);
    throw refusedQuestion('getaddrinfo', args[1]);
  });
  patches.wrap(bindings, 'getnameinfo', (_original, _self, args) => {
    throw refusedQuestion('getnameinfo', args[1]);
  });
}

function questionsOf(object: object): string[] {
  const descriptors = Object.entries(Object.getOwnPropertyDescriptors(object));
  return descriptors
    .filter(([name, { value }]) => QUESTION.test(name) && typeof value === 'function')
    .map(([name]) => name);
}

function refusedQuestion(what: string, name: unknown): Error {
  const text = String(name);
  const hint =
    what === 'lookup'
      ? `the proxy looks names up, so connect to the name; or list it: NO_PROXY=${text}`
      : 'there is no DNS through a SOCKS proxy: connect to the name';
  return refusal(`a DNS question (${what})`, text, hint);
}

function answer(args: readonly unknown[], error: Error | null, ...values: readonly unknown[]): object {
  const callback = args.at(-1);
  if (typeof callback !== 'function') throw error ?? new TypeError('lookup takes a callback');
  process.nextTick(callback, error, ...values);
  return {};
}
