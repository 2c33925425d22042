// Turns the options of one request, which come from any undici, into options that the Agents of every undici take.

import { URL } from 'node:url';
import type { Destination } from '@socksify/core';
import { isForm, writeForm } from './form.ts';
import type { DispatchOptions } from './undici-shapes.ts';

/** Options that every Agent takes: the same object, if nothing has to change. */
export function cleanOptions(options: DispatchOptions): DispatchOptions {
  if (options.body && isForm(options.body))
    return cleanOptions({ ...options, ...writeForm(options.body, options.headers) });
  const headers = collapseContentLength(options.headers);
  if (options.dispatcher === undefined && headers === options.headers) return options;
  // undici 8 throws when it finds a dispatcher in them.
  return { ...options, headers, dispatcher: undefined };
}

/** The fetch of Node 20 and 22 makes "5, 5" of a content-length that the caller has set too. */
function collapseContentLength(headers: unknown): unknown {
  if (typeof headers !== 'object' || headers === null || Array.isArray(headers)) return headers;
  for (const name in headers) {
    if (name.length !== 14 || name.toLowerCase() !== 'content-length') continue;
    const value: unknown = Reflect.get(headers, name);
    const [, length] = (typeof value === 'string' && /^(\d+)(?:, *\1)+$/.exec(value)) || [];
    if (length !== undefined) return { ...headers, [name]: length };
  }
  return headers;
}

/** The destination for the selector. Undefined for an origin that no Agent takes, so that undici refuses it. */
export function destinationOf(origin: string | URL | undefined): Destination | undefined {
  const text = String(origin ?? '');
  if (!URL.canParse(text)) return undefined;
  const { protocol, hostname, port } = new URL(text);
  if (protocol !== 'http:' && protocol !== 'https:') return undefined;
  return { host: hostname, port: Number(port) || (protocol === 'https:' ? 443 : 80), protocol };
}
