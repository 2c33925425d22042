// Headers between the forms that undici has, and the options of a request: pure functions.

import { describe, expect, test } from 'vitest';
import { cleanOptions, destinationOf } from '../src/dispatch-options.ts';
import { isRaw, presentPairs, toObject, toPairs, UNPARSED } from '../src/headers.ts';

const text = (pairs: readonly Buffer[]): string[] => pairs.map(String);
const buffers = (...texts: string[]): Buffer[] => texts.map((one) => Buffer.from(one));

describe('pairs', () => {
  test('of Buffers alone are returned as they are', () => {
    const raw = buffers('a', 'b');
    expect(toPairs(raw)).toBe(raw);
  });

  test.each<[string, any, string[]]>([
    ['of texts', ['a', 'b', 'c', 'd'], ['a', 'b', 'c', 'd']],
    ['of texts and Buffers', ['a', Buffer.from('b')], ['a', 'b']],
    ['whose values are lists', ['a', ['b', 'c'], 'd', 'e'], ['a', 'b', 'a', 'c', 'd', 'e']],
    ['whose names are lists', [['a'], 'b'], ['a', 'b']],
    ['of an object', { a: 'b', c: ['d', 'e'] }, ['a', 'b', 'c', 'd', 'c', 'e']],
    ['without a value', ['a', undefined, 'c', 'd'], ['c', 'd']],
    ['without a name', [undefined, 'b', 'c', 'd'], ['c', 'd']],
    ['with a name at the end', ['a', 'b', 'c'], ['a', 'b']],
    ['of an object without a value', { a: undefined, b: 'c' }, ['b', 'c']],
    ['of nothing', [], []],
  ])('%s are Buffers, one pair for each value', (_, headers, expected) => {
    const pairs = toPairs(headers);
    expect(text(pairs)).toEqual(expected);
    expect(pairs.every((one) => Buffer.isBuffer(one))).toBe(true);
  });

  test('have Latin-1 texts as Latin-1, and others as UTF-8', () => {
    expect(toPairs(['z', '\u00e9\u00e9'])[1]).toEqual(Buffer.from('e9e9', 'hex'));
    expect(toPairs(['a', '\u00e9', 'b', '\u20ac', 'c', '\u00e9\u20ac'])).toEqual([
      Buffer.from('a'),
      Buffer.from('e9', 'hex'),
      Buffer.from('b'),
      Buffer.from('e282ac', 'hex'),
      Buffer.from('c'),
      Buffer.from('c3a9e282ac', 'hex'),
    ]);
  });

  test('have the Buffers that they were given', () => {
    const value = Buffer.from('b');
    expect(toPairs(['a', value])[1]).toBe(value);
  });

  test('are a list, and the headers of HTTP/2 are none', () => {
    expect([isRaw([]), isRaw({})]).toEqual([true, false]);
  });
});

describe('the object of pairs', () => {
  test.each<[string[], object]>([
    [['A', 'b'], { a: 'b' }],
    [['Set-Cookie', 'a', 'set-cookie', 'b', 'SET-COOKIE', 'c'], { 'set-cookie': ['a', 'b', 'c'] }],
    [[], {}],
  ])('%j has names in lower case, and a list for a name that came several times', (raw, parsed) => {
    expect(toObject(raw)).toEqual(parsed);
  });
});

describe('the present pairs', () => {
  const raw = buffers('A', 'b', 'C', 'd', 'c', 'e');

  test('are the raw ones if nobody has changed the parsed ones', () => {
    expect(presentPairs(raw, { a: 'b', c: ['d', 'e'] })).toBe(raw);
    expect(presentPairs(raw, UNPARSED)).toBe(raw);
    expect(presentPairs([], {})).toEqual([]);
  });

  test.each<[string, object, string[]]>([
    ['a changed value', { a: 'new', c: ['d', 'e'] }, ['a', 'new', 'c', 'd', 'c', 'e']],
    ['one value of several changed', { a: 'b', c: ['d', 'new'] }, ['a', 'b', 'c', 'd', 'c', 'new']],
    ['one value more', { a: 'b', c: ['d', 'e', 'f'] }, ['a', 'b', 'c', 'd', 'c', 'e', 'c', 'f']],
    ['one value less', { a: 'b', c: ['d'] }, ['a', 'b', 'c', 'd']],
    ['a value less, as a text', { a: 'b', c: 'd' }, ['a', 'b', 'c', 'd']],
    ['a name removed', { a: 'b' }, ['a', 'b']],
    ['a name set to undefined', { a: undefined, c: ['d', 'e'] }, ['c', 'd', 'c', 'e']],
    ['a name set to null', { a: null, c: ['d', 'e'] }, ['c', 'd', 'c', 'e']],
    ['a name added', { a: 'b', c: ['d', 'e'], f: 'g' }, ['a', 'b', 'c', 'd', 'c', 'e', 'f', 'g']],
    ['a name replaced', { x: 'b', c: ['d', 'e'] }, ['x', 'b', 'c', 'd', 'c', 'e']],
    ['a number', { a: 5, c: ['d', 'e'] }, ['a', '5', 'c', 'd', 'c', 'e']],
    ['a Buffer', { a: Buffer.from('g'), c: ['d', 'e'] }, ['a', 'g', 'c', 'd', 'c', 'e']],
    ['an empty list', { a: [], c: ['d', 'e'] }, ['c', 'd', 'c', 'e']],
    ['another spelling of a name', { A: 'b', C: ['d', 'e'] }, ['A', 'b', 'C', 'd', 'c', 'e']],
  ])('follow the parsed ones: %s', (_, parsed, expected) => {
    expect(text(presentPairs(raw, parsed as Record<string, string>))).toEqual(expected);
  });

  test('keep the bytes of values that nobody has changed, read as Latin-1 or as UTF-8', () => {
    const bytes = [Buffer.from('a'), Buffer.from('c3a9', 'hex'), ...buffers('b', 'c')];
    for (const read of ['\u00e9', '\u00c3\u00a9']) {
      expect(presentPairs(bytes, { a: read, b: 'new' })[1]).toBe(bytes[1]);
    }
    expect(presentPairs(bytes, { a: '\u00e8', b: 'c' })[1]).toEqual(Buffer.from('e8', 'hex'));
  });

  test('are those of the parsed ones if there are no raw ones', () => {
    for (const none of [null, undefined]) expect(text(presentPairs(none, { a: 'b' }))).toEqual(['a', 'b']);
    expect(text(presentPairs({ a: 'b' }, { a: 'c' }))).toEqual(['a', 'c']);
  });
});

describe('the options of a request', () => {
  const options = { path: '/', method: 'GET' };

  test('are the same object if nothing has to change', () => {
    for (const headers of [
      undefined,
      null,
      'text',
      ['content-length', '5, 5'],
      { a: 'b', 'content-length': 5 },
      { 'content-length': ['5', '5'], 'x-of-14-letter': '5, 5' },
    ]) {
      const given = { ...options, headers };
      expect(cleanOptions(given)).toBe(given);
    }
  });

  test('have no dispatcher', () => {
    const headers = { a: 'b' };
    const clean = cleanOptions({ ...options, headers, dispatcher: {} });
    expect(clean).toEqual({ ...options, headers, dispatcher: undefined });
    expect(clean.headers).toBe(headers);
  });

  test.each<[string, string]>([
    ['5, 5', '5'],
    ['55,55', '55'],
    ['5,  5, 5', '5'],
    ['5, 55', '5, 55'],
    ['55, 5', '55, 5'],
    ['5, 5x', '5, 5x'],
    ['x5, 5', 'x5, 5'],
    ['5', '5'],
  ])('have a content-length of %j as %j', (given, sent) => {
    for (const name of ['content-length', 'Content-Length']) {
      const headers = { accept: '*/*', 'content-lengthy': '5, 5', [name]: given, 'x-content-len': '5, 5' };
      expect(cleanOptions({ ...options, headers }).headers).toEqual({ ...headers, [name]: sent });
    }
  });
});

describe('a form as the body of a request', () => {
  const options = { path: '/', method: 'POST', body: new FormData() };

  test('is written with a content-type, and with no dispatcher in the options', () => {
    const clean = cleanOptions({ ...options, headers: { a: 'b' }, dispatcher: {} });
    expect(clean).toMatchObject({ path: '/', method: 'POST', dispatcher: undefined });
    expect(clean.body).not.toBe(options.body);
    expect(JSON.stringify(clean.headers)).toMatch(/"a".*"b".*multipart\/form-data; boundary=/);
  });

  test('keeps a content-length of the caller, and adds one otherwise', () => {
    const lengths = (headers: unknown) =>
      JSON.stringify(cleanOptions({ ...options, headers }).headers).match(/content-length/gi);
    expect(lengths({ a: 'b' })).toHaveLength(1);
    expect(lengths({ 'content-length': '44' })).toHaveLength(1);
  });
});

describe('the destination of an origin', () => {
  test.each<[string | URL | undefined, unknown]>([
    ['http://a.test', { host: 'a.test', port: 80, protocol: 'http:' }],
    ['https://a.test', { host: 'a.test', port: 443, protocol: 'https:' }],
    ['http://a.test:8080', { host: 'a.test', port: 8080, protocol: 'http:' }],
    ['https://a.test:80', { host: 'a.test', port: 80, protocol: 'https:' }],
    [new URL('http://[::1]:81/path'), { host: '[::1]', port: 81, protocol: 'http:' }],
    ['ftp://a.test', undefined],
    ['a.test', undefined],
    ['', undefined],
    [undefined, undefined],
  ])('%s is %o', (origin, destination) => {
    expect(destinationOf(origin)).toEqual(destination);
  });
});
