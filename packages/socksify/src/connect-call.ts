// Reads the arguments of `socket.connect` once: a getter of the program could give another destination when Node reads
// them after the check.

import { isIP } from 'node:net';
import type { LookupFunction } from 'node:net';
import type { Destination } from '@socksify/core';
import { connectionHint, print, refusal } from './policy.ts';
import type { Policy } from './policy.ts';
import { fieldOf, isFunction, isObject } from './unknown.ts';

/** One call of `socket.connect`. */
export interface ConnectCall {
  /** What the program gave, as it was when it was read. */
  readonly options: object;
  readonly callback?: (() => void) | undefined;
  /** A Unix socket in place of a host and a port. */
  readonly path?: string | undefined;
  /** Neither this nor `path`: the port or the path is not valid. Then Node throws, and connects to nothing. */
  readonly destination?: Destination | undefined;
}

/** Undefined for arguments with which Node throws, and connects to nothing. */
export function readCall(args: readonly unknown[]): ConnectCall | undefined {
  const [first, second] = args;
  // net.connect() passes an array without names. An array that has some is an object with options.
  if (Array.isArray(first) && !('port' in first || 'path' in first))
    return readCall(first.filter((value) => value !== null));
  const last = args.at(-1);
  const callback = isFunction(last) ? last : undefined;
  if (isObject(first)) return describe(readOnce(first), callback);
  if (typeof first === 'string' && !(Number(first) >= 0)) return describe({ path: first }, callback);
  if (typeof first !== 'number' && typeof first !== 'string') return undefined;
  const host = typeof second === 'string' ? second : undefined;
  return describe({ port: Number(first), ...(host !== undefined && { host }) }, callback);
}

function describe(options: object, callback: (() => void) | undefined): ConnectCall {
  const path = fieldOf(options, 'path');
  if (!path) return { options, callback, destination: destinationOf(options) };
  return typeof path === 'string' ? { options, callback, path } : { options, callback };
}

function destinationOf(options: object): Destination | undefined {
  // With an empty path, Node takes a port that is missing for port 0. Without any path, it throws.
  const hasPath = (fieldOf(options, 'path') ?? undefined) !== undefined;
  const given = fieldOf(options, 'port');
  const port = given === undefined && hasPath ? 0 : given;
  const number = Number(port);
  const isPort = (typeof port === 'number' || (typeof port === 'string' && port !== '')) && number >= 0;
  if (!isPort || number > 65_535 || !Number.isInteger(number)) return undefined;
  return { host: textOf(fieldOf(options, 'host')) || 'localhost', port: number };
}

/** A host as text. Whatever the program gives is converted as Node does it; unlike String(), this throws for a symbol. */
function textOf(value: any): string {
  return value ? ''.concat(value) : '';
}

function readOnce(options: object): object {
  const prototype: unknown = Object.getPrototypeOf(options);
  if (prototype === Object.prototype || prototype === null) return { ...options };
  // An object of a class can inherit options.
  const names = ['host', 'port', 'path', 'lookup'];
  const inherited = Object.fromEntries(names.map((name) => [name, fieldOf(options, name)]));
  const copy: object = Object.create(options, Object.getOwnPropertyDescriptors({ ...options, ...inherited }));
  return copy;
}

/** The options of a call with the destination that was checked. */
export function withDestination(options: object, destination: Destination, policy: Policy): object {
  const lookup = fieldOf(options, 'lookup');
  const own =
    isLookup(lookup) &&
    lookup !== process.getBuiltinModule('node:dns').lookup &&
    isIP(destination.host) === 0;
  // The options are a copy of ours, not the object of the program.
  return Object.assign(options, destination, own && { lookup: checkedLookup(lookup, destination, policy) });
}

function isLookup(value: unknown): value is LookupFunction {
  return isFunction(value);
}

/** A listed name says nothing about the addresses that a look-up function of the program gives for it. */
function checkedLookup(lookup: LookupFunction, destination: Destination, policy: Policy): LookupFunction {
  return (hostname, options, callback) => {
    lookup(hostname, options, (error, address, family) => {
      // Read once, as the options are.
      const found = Array.isArray(address) ? address.map((each) => ({ ...each })) : address;
      const addresses = Array.isArray(found) ? found.map((each) => each.address) : [found];
      const bad = error ? undefined : addresses.find((each) => !policy.isDirectAddress(destination, each));
      if (bad === undefined) return callback(error, found, family);
      const what = `the program's own lookup says ${bad} for ${destination.host}`;
      const to = print({ ...destination, host: bad });
      callback(refusal(what, to, connectionHint(bad, false)), '', 0);
    });
  };
}
