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
