// A SecureContext for many connections: which options share one.

import tls from 'node:tls';
import { CERTIFICATE as ca, TLS } from '@socksify/support';
import { describe, expect, test } from 'vitest';
import { SecureContexts } from '../src/index.ts';

describe('SecureContexts', () => {
  test('gives the same context for options with the same values', () => {
    const contexts = new SecureContexts();
    const named: tls.ConnectionOptions = { ca, ...TLS, servername: 'other.test' };
    const context = contexts.get({ ca, ...TLS });
    expect(context?.context).toBeDefined();
    expect(contexts.get(named)).toBe(context);
    expect(contexts.get({ ca: Buffer.from(ca), ...TLS, ciphers: undefined })).toBe(context);
    const other = contexts.get({ ca, ciphers: undefined });
    expect(contexts.get({ ca, ciphers: undefined })).toBe(other);
  });

  const others: readonly (readonly [string, tls.SecureContextOptions])[] = [
    ['ca', { ca: [ca] }],
    ['a certificate', { ca, cert: TLS.cert, key: TLS.key }],
    ['versions', { ca, minVersion: 'TLSv1.3' }],
    ['ciphers', { ca, ciphers: 'TLS_AES_128_GCM_SHA256' }],
  ];
  test.each(others)('gives another context for other options: %s', (_, options) => {
    const contexts = new SecureContexts();
    const context = contexts.get({ ca });
    const other = contexts.get({ ...options });
    expect(other).toBeDefined();
    expect(other).not.toBe(context);
    expect(contexts.get({ ...options })).toBe(other);
    expect(contexts.get({ ca })).not.toBe(other);
  });

  test('gives another context when a list has changed', () => {
    const contexts = new SecureContexts();
    const list = [ca];
    const context = contexts.get({ ca: list });
    expect(contexts.get({ ca: list })).toBe(context);
    list.push(ca);
    expect(contexts.get({ ca: list })).not.toBe(context);
  });

  const inPlace: readonly (readonly [string, tls.SecureContextOptions, () => unknown])[] = (() => {
    const one = Buffer.from(`${String(ca)}\n`);
    const listed = Buffer.from(`${String(ca)}\n`);
    const pem = { pem: String(TLS.key) };
    return [
      ['a Buffer', { ca: one }, () => one.write(' ', one.length - 1)],
      ['a Buffer in a list', { ca: [listed] }, () => listed.write(' ', listed.length - 1)],
      ['a key in a list', { ca, cert: TLS.cert, key: [pem] }, () => (pem.pem = `${String(TLS.key)}\n`)],
    ];
  })();
  test.each(inPlace)('gives another context when %s has changed in place', (_, options, change) => {
    const contexts = new SecureContexts();
    const context = contexts.get(options);
    expect(contexts.get(options)).toBe(context);
    change();
    expect(contexts.get(options)).not.toBe(context);
  });

  test('gives another context for another key behind a getter of a class', () => {
    class Key {
      readonly #pem: Buffer;
      constructor(pem: Buffer) {
        this.#pem = pem;
      }
      get pem(): Buffer {
        return this.#pem;
      }
    }
    const contexts = new SecureContexts();
    const of = (pem: Buffer) => contexts.get({ ca, cert: TLS.cert, key: [new Key(pem)] });
    const context = of(TLS.key);
    expect(of(TLS.key)).toBe(context);
    expect(of(Buffer.from(`${String(TLS.key)}\n`))).not.toBe(context);
  });

  test('gives another context when a default of Node has changed', () => {
    const contexts = new SecureContexts();
    const context = contexts.get({ ca });
    const before = tls.DEFAULT_MIN_VERSION;
    tls.DEFAULT_MIN_VERSION = 'TLSv1.3';
    try {
      expect(contexts.get({ ca })).not.toBe(context);
    } finally {
      tls.DEFAULT_MIN_VERSION = before;
    }
  });

  test('gives none without ca, because the default certificates can be replaced', () => {
    const contexts = new SecureContexts();
    expect(contexts.get({})).toBeUndefined();
    expect(contexts.get({ cert: TLS.cert, key: TLS.key })).toBeUndefined();
  });

  test('gives the context that the options have', () => {
    const secureContext = tls.createSecureContext();
    expect(new SecureContexts().get({ ca, secureContext })).toBe(secureContext);
  });

  test('throws what Node throws, each time', () => {
    const contexts = new SecureContexts();
    for (let i = 0; i < 2; i++) expect(() => contexts.get({ ca, ciphers: 'bogus' })).toThrow(/cipher/i);
    expect(contexts.get({ ca })).toBeDefined();
  });
});
