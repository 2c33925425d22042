// Refuses questions to a name server. Look-ups of addresses and of listed names pass, and so do those that Node makes while
// it connects a socket that may be direct. Names of the loopback are answered here. Where TCP is tunnelled, other look-ups
// are answered with placeholders.

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

export interface DnsOptions {
  readonly patches: Patches;
  readonly policy: Policy;
  /** True while Node looks this name up for a socket that may be direct. */
  readonly isConnecting: (name: string) => boolean;
  /** The answers to look-ups. Without placeholders, look-ups are refused. */
  readonly placeholders?: Placeholders | undefined;
}

export function watchDns({ patches, policy, isConnecting, placeholders }: DnsOptions): void {
  /** True for a name that a name server would get. */
  const isQuestion = (name: unknown): name is string =>
    typeof name === 'string' && name !== '' && !isConnecting(name) && !policy.mayLookUp(name);
  /** Undefined if the system may look the name up. */
  const lookUp = (name: unknown, options: unknown): LookupAddress[] | Error | undefined => {
    const wanted = isObject(options) ? fieldOf(options, 'family') : options;
    const family = Number(String(wanted).replace('IPv', '')) || 0;
    if (isLoopbackName(name)) return addressesOfLoopback(name, family);
    if (!isQuestion(name)) return undefined;
    if (!placeholders || family === 6) return refusedQuestion('lookup', name);
    return [{ address: placeholders.addressOf(name), family: 4 }];
  };
  patches.wrap(dns, 'lookup', (original, self, args) => {
    const found = lookUp(args[0], args[1]);
    if (!found) return Reflect.apply(original, self, args);
    if (found instanceof Error) return answer(args, found);
    if (fieldOf(args[1], 'all')) return answer(args, null, found);
    return answer(args, null, found[0]?.address, found[0]?.family);
  });
  patches.wrap(dns.promises, 'lookup', async (original, self, args) => {
    const found = lookUp(args[0], args[1]);
    if (!found) return Reflect.apply(original, self, args);
    if (found instanceof Error) throw found;
    return fieldOf(args[1], 'all') ? found : found[0];
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
  refuseNatively(patches, isQuestion);
}

function isLoopbackName(name: unknown): name is string {
  return typeof name === 'string' && isIP(name) === 0 && isLoopback(name);
}

/**
 * By RFC 6761, names of the loopback have these addresses. The system would send one that its file of hosts does not have
 * for this family to a name server.
 */
function addressesOfLoopback(name: string, family: number): LookupAddress[] {
  // A number such as `127.0.0.1.` stands for one address.
  const host = parseHost(name) ?? '';
  const addresses = isIP(host) === 0 ? ['127.0.0.1', '::1'] : [host];
  return addresses
    .map((address) => ({ address, family: isIP(address) }))
    .filter((each) => addresses.length === 1 || family === 0 || each.family === family);
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
  patches.wrap(bindings, 'getaddrinfo', (original, self, [request, name, family, ...others]) => {
    if (isLoopbackName(name)) name = addressesOfLoopback(name, family)[0]?.address;
    else if (isQuestion(name)) throw refusedQuestion('getaddrinfo', name);
    return Reflect.apply(original, self, [request, name, family, ...others]);
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
