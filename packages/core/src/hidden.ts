// Passwords and TLS keys inside a proxy. They can be read and passed on, but nothing prints, logs or serialises them.

import { SocksError } from './errors.ts';

const SECRET: readonly string[] = ['password', 'key', 'passphrase', 'pfx', 'session', 'ticketKeys'];

type Fields = Readonly<Record<string, unknown>>;

/**
 * Stands for secret fields: the only sign of them that is visible. A spread copies the reference to it. A copy by
 * structuredClone or JSON has lost the fields.
 */
class Hidden {
  readonly names: readonly string[];
  readonly #fields: Fields;

  constructor(fields: Fields) {
    this.names = Object.keys(fields);
    this.#fields = fields;
  }

  static isWhole(value: unknown): value is Hidden {
    return typeof value === 'object' && value !== null && #fields in value;
  }

  // A method and not a getter, because inspect() has an option that calls getters.
  reveal(): Fields {
    return this.#fields;
  }
}

// Copying and printing leave out the getters of a prototype. inspect() has an option that prints them too, but not
// those of a prototype whose constructor is built into the language.
const PROTOTYPE: object = Object.create(Object.prototype, { constructor: { value: Object } });
for (const name of SECRET) {
  Object.defineProperty(PROTOTYPE, name, {
    get(this: { readonly hidden?: Partial<Hidden> }) {
      return this.hidden?.reveal?.()[name];
    },
  });
}

/** A frozen copy. Its secret fields can be read, but they are not own properties; `hidden` stands for them. */
export function hide<T extends object>(value: T): T {
  const fields = Object.entries(value);
  const secret = fields.filter(([name]) => SECRET.includes(name));
  if (secret.length === 0) return Object.freeze({ ...value });
  const shown = fields.filter(([name]) => !SECRET.includes(name));
  const hidden = Object.freeze(new Hidden(Object.fromEntries(secret)));
  return Object.freeze(Object.assign(Object.create(PROTOTYPE), Object.fromEntries(shown), { hidden }));
}

/**
 * A plain copy of what {@link hide} returned, of a spread of that, or of any other object. It has all fields that are
 * given, the hidden ones included.
 *
 * @throws SocksError `ERR_SOCKS_INVALID_PROXY` when a copy has lost the hidden fields
 */
export function reveal<T extends object>(value: T): Partial<T> {
  const { hidden, ...shown } = value as { readonly hidden?: Partial<Hidden> };
  if (hidden !== undefined && !Hidden.isWhole(hidden)) {
    const detail =
      'this copy has lost its password or TLS keys: pass the proxy itself, a spread of it, or its URL';
    throw new SocksError('ERR_SOCKS_INVALID_PROXY', { phase: 'input', detail });
  }
  const given = Object.entries(shown).filter(([, field]) => field !== undefined);
  return { ...hidden?.reveal?.(), ...Object.fromEntries(given) } as Partial<T>;
}
