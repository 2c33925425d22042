// Passwords and TLS keys inside a proxy. They can be read and passed on, but nothing prints, logs or serialises them.

import { SocksError } from './errors.ts';

const SECRET: readonly string[] = ['password', 'key', 'passphrase', 'pfx', 'session', 'ticketKeys'];

/** The one visible sign of secret fields. A spread takes it along. A copy by structuredClone or JSON breaks it. */
class Hidden {
  readonly names: readonly string[];
  readonly #fields: object;

  constructor(fields: object) {
    this.names = Object.keys(fields);
    this.#fields = fields;
  }

  // A method: inspect() can be told to call getters.
  reveal(): object {
    return this.#fields;
  }
}

interface Hiding {
  readonly hidden?: Partial<Hidden>;
}

// Getters of a prototype are no part of a copy or a print. inspect() also prints those of a prototype, if told to, but
// not where the constructor is one of the language.
const PROTOTYPE: object = Object.create(Object.prototype, {
  constructor: { value: Object },
  ...Object.fromEntries(
    SECRET.map((name) => [
      name,
      {
        get(this: Hiding): unknown {
          return (this.hidden?.reveal?.() as Record<string, unknown> | undefined)?.[name];
        },
      },
    ]),
  ),
});

/** A frozen copy. Its secret fields can be read, but are no own properties; `hidden` stands for them. */
export function hide<T extends object>(value: T): T {
  const fields = Object.entries(value);
  const secret = fields.filter(([name]) => SECRET.includes(name));
  if (secret.length === 0) return Object.freeze({ ...value });
  const shown = fields.filter(([name]) => !SECRET.includes(name));
  const hidden = Object.freeze(new Hidden(Object.fromEntries(secret)));
  return Object.freeze(Object.assign(Object.create(PROTOTYPE), Object.fromEntries(shown), { hidden }));
}

/**
 * A plain copy with all fields that are given, the hidden ones included, of what {@link hide} returned, of a spread of
 * it, or of any other object.
 *
 * @throws SocksError `ERR_SOCKS_INVALID_PROXY` when a copy has lost the hidden fields
 */
export function reveal<T extends object>(value: T): Partial<T> {
  const { hidden, ...shown } = value as T & Hiding;
  if (hidden !== undefined && typeof hidden?.reveal !== 'function') {
    throw new SocksError('ERR_SOCKS_INVALID_PROXY', {
      phase: 'input',
      detail:
        'this copy has lost its password or TLS keys: pass the proxy itself, a spread of it, or its URL',
    });
  }
  const given = Object.entries(shown).filter(([, field]) => field !== undefined);
  return { ...hidden?.reveal?.(), ...Object.fromEntries(given) } as Partial<T>;
}
