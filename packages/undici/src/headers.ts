// Headers in the forms that undici has: flat pairs as they came, and an object of parsed values.

import type { ParsedHeaders, RawHeaders } from './undici-shapes.ts';

type Text = Buffer | string;

const isBuffer = Buffer.isBuffer.bind(Buffer);

/** Stands for parsed headers that nobody reads. */
export const UNPARSED: ParsedHeaders = Object.freeze({});

/**
 * The headers as pairs, after the interceptors. Interceptors change the parsed headers and may leave the raw ones as
 * they came. So a raw pair is used only if the parsed value of its name is still the same.
 */
export function presentPairs(
  raw: RawHeaders | ParsedHeaders | null | undefined,
  parsed: ParsedHeaders,
): readonly Buffer[] {
  if (!raw) return toPairs(parsed);
  const pairs = toPairs(raw);
  if (parsed === UNPARSED) return pairs;
  const before = byName(pairs);
  const present: Buffer[] = [];
  let kept = 0;
  for (const [name, given] of Object.entries(parsed)) {
    if (given === undefined || given === null) continue;
    const values = [given].flat();
    const own = before.get(name.toLowerCase());
    const same = own?.length === values.length && own.every((value, i) => hasText(value, values[i]));
    if (same) kept++;
    for (const value of same ? own : values)
      present.push(toBuffer(name), value instanceof Buffer ? value : toBuffer(String(value)));
  }
  return kept === before.size && present.length === pairs.length ? pairs : present;
}

/** Some versions of undici read headers as Latin-1, some as UTF-8. */
function hasText(value: Buffer, text: unknown): boolean {
  return value.toString('latin1') === String(text) || value.toString() === String(text);
}

/** Flat pairs of Buffers, one pair for each value: several Set-Cookie stay several. */
export function toPairs(headers: RawHeaders | ParsedHeaders): readonly Buffer[] {
  // As llhttp gives them.
  if (Array.isArray(headers) && headers.every(isBuffer)) return headers;
  // In either form the names are at the even places, and several values of a name are in one array.
  const list = isRaw(headers) ? headers : Object.entries(headers).flat(1);
  const pairs: Buffer[] = [];
  for (let i = 0; i < list.length; i += 2) {
    const [name] = [list[i]].flat();
    for (const value of [list[i + 1]].flat()) {
      if (name !== undefined && value !== undefined) pairs.push(toBuffer(name), toBuffer(value));
    }
  }
  return pairs;
}

/** True for a list, false for the object that HTTP/2 gives. */
export function isRaw(headers: RawHeaders | ParsedHeaders): headers is RawHeaders {
  return Array.isArray(headers);
}

/** Lower-case names; an array for a name that came several times. */
export function toObject(headers: RawHeaders | ParsedHeaders): ParsedHeaders {
  return Object.fromEntries(
    Array.from(byName(toPairs(headers)), ([name, values]) => {
      const texts = values.map((value) => value.toString('latin1'));
      return [name, texts.length > 1 ? texts : texts[0]];
    }),
  );
}

function byName(pairs: readonly Buffer[]): Map<string, Buffer[]> {
  const values = new Map<string, Buffer[]>();
  for (let i = 0; i < pairs.length; i += 2) {
    const key = pairs[i];
    const value = pairs[i + 1];
    if (key === undefined || value === undefined) break;
    const name = key.toString('latin1').toLowerCase();
    const before = values.get(name);
    if (before) before.push(value);
    else values.set(name, [value]);
  }
  return values;
}

function toBuffer(text: Text): Buffer {
  if (typeof text !== 'string') return text;
  // An interceptor may have read UTF-8, or may have made a new text.
  // oxlint-disable-next-line no-control-regex -- "all Latin-1"
  return Buffer.from(text, /^[\u0000-\u00ff]*$/.test(text) ? 'latin1' : 'utf8');
}
