// One SecureContext for many TLS connections with the same certificates. To make one takes a third of the CPU of a TLS
// connection.

import { isDeepStrictEqual } from 'node:util';
import type { ConnectionOptions, SecureContext, SecureContextOptions } from 'node:tls';
import { isObject, withoutUndefined } from './given.ts';

/** Keeps the SecureContext that was made last, for pools whose connections have the same TLS options. */
export class SecureContexts {
  #context: SecureContext | undefined;
  #defaults: unknown;
  /** The options that Node has read to make the context. It is for other options with the same values too. */
  readonly #read = new Map<PropertyKey, unknown>();

  /**
   * The context of these options. Undefined without `ca`: then Node trusts its default certificates, which the program
   * can replace at any time, so each connection needs a context of its own.
   *
   * @throws what Node throws for options that it refuses
   */
  get(options: SecureContextOptions & Pick<ConnectionOptions, 'secureContext'>): SecureContext | undefined {
    const { ca, secureContext } = options;
    if (secureContext || !ca) return secureContext;
    // Loaded here, because most tunnels need no TLS and the module is slow to load.
    const tls = process.getBuiltinModule('node:tls');
    const { DEFAULT_CIPHERS: ciphers, DEFAULT_ECDH_CURVE, DEFAULT_MIN_VERSION, DEFAULT_MAX_VERSION } = tls;
    const defaults = [ciphers, DEFAULT_ECDH_CURVE, DEFAULT_MIN_VERSION, DEFAULT_MAX_VERSION];
    let same = this.#context !== undefined && isDeepStrictEqual(defaults, this.#defaults);
    for (const [name, value] of this.#read) {
      const now = Reflect.get(options, name);
      same &&= now === value || isDeepStrictEqual(copyOf(now), value);
    }
    if (same) return this.#context;

    this.#context = undefined;
    this.#defaults = defaults;
    this.#read.clear();
    const given = withoutUndefined(options);
    const recorded = new Proxy<SecureContextOptions>(
      { ciphers, ...given },
      {
        get: (all, name): unknown => {
          this.#read.set(name, copyOf(Reflect.get(given, name)));
          return Reflect.get(all, name);
        },
      },
    );
    return (this.#context = createContext(recorded));
  }
}

/** @throws what Node throws for options that it refuses. The error does not repeat the value, which may be a key. */
export function createContext(options: SecureContextOptions): SecureContext {
  try {
    return process.getBuiltinModule('node:tls').createSecureContext(options);
  } catch (error) {
    if (error instanceof Error) {
      for (const name of ['message', 'stack'] as const)
        error[name] = String(error[name]).replace(/ Received .*/, '');
    }
    throw error;
  }
}

/**
 * A value for comparison. The caller may later change a list, a key in the list and the bytes of a Buffer, and a key can
 * have getters, which isDeepStrictEqual() does not compare.
 */
function copyOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(copyOf);
  if (ArrayBuffer.isView(value))
    return Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('latin1');
  return isObject(value) ? [value['pem'], value['buf'], value['passphrase']].map(copyOf) : value;
}
