// Passwords and TLS keys inside a proxy. They can be read and passed on, but nothing prints, logs or serialises them.

import { check } from './errors.ts';
import { isObject, withoutUndefined } from './given.ts';

const SECRET: readonly string[] = ['password', 'key', 'passphrase', 'pfx', 'session', 'ticketKeys'];

/**
 * The secret fields of a copy, by its object `hidden`, which is all that is visible of them. A spread keeps that object,
 * and so the fields. structuredClone and JSON make another object, and so lose the fields.
 */
const secrets = new WeakMap<object, Readonly<Record<string, unknown>>>();

// Copying and printing leave out the getters of a prototype. inspect() has an option that prints them too, but not
// those of a prototype whose constructor is built into the language.
const PROTOTYPE: object = Object.create(Object.prototype, { constructor: { value: Object } });
for (const name of SECRET) {
  Object.defineProperty(PROTOTYPE, name, {
    get(this: { readonly hidden: object }) {
      return secrets.get(this.hidden)?.[name];
    },
  });
}

/** A frozen copy. Its secret fields can be read, but they are not own properties; `hidden` stands for them. */
export function hide<T extends object>(value: T): T {
  const names = Object.keys(value).filter((name) => SECRET.includes(name));
  if (names.length === 0) return Object.freeze({ ...value });
  const pick = (isSecret: boolean): Record<string, unknown> =>
    Object.fromEntries(Object.entries(value).filter(([name]) => names.includes(name) === isSecret));
  const hidden = Object.freeze({ names });
  secrets.set(hidden, pick(true));
  return Object.freeze(Object.assign(Object.create(PROTOTYPE), pick(false), { hidden }));
}

/**
 * A plain copy of what {@link hide} returned, of a spread of that, or of any other object. It has all fields that are
 * given, the hidden ones included.
 *
 * @throws SocksError `ERR_SOCKS_INVALID_PROXY` when a copy has lost the hidden fields
 */
export function reveal<T extends object>(value: T & { readonly hidden?: object }): Partial<T> {
  const { hidden, ...shown } = value;
  const fields = hidden === undefined ? {} : (secrets.get(hidden) ?? readFields(value, hidden));
  const lost =
    'this copy has lost its password or TLS keys: pass the proxy itself, a spread of it, or its URL';
  check(fields !== undefined, 'PROXY', lost);
  return { ...fields, ...withoutUndefined<object>(shown) } as Partial<T>;
}

/**
 * The secret fields of a value that another copy of this package made, as its getters give them. A program has two copies
 * when two of its dependencies need different versions.
 */
function readFields(value: object, hidden: unknown): Readonly<Record<string, unknown>> | undefined {
  const names = isObject(hidden) ? hidden['names'] : undefined;
  if (!Array.isArray(names)) return undefined;
  const fields = SECRET.filter((name) => names.includes(name)).map((name) => [
    name,
    Reflect.get(value, name),
  ]);
  const isWhole = fields.length > 0 && fields.every(([, field]) => field !== undefined);
  return isWhole ? Object.fromEntries(fields) : undefined;
}
