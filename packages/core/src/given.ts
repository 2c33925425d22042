// Values as callers give them: which fields were given, and how a message describes a value without repeating a secret.

/** The fields that were given: one that is `undefined` was not. */
export function withoutUndefined<T extends object>(value: { readonly [K in keyof T]: T[K] | undefined }): T {
  const given: Record<string, unknown> = {};
  for (const [name, field] of Object.entries(value)) {
    // An assignment to `__proto__` would set the prototype.
    if (field !== undefined && name !== '__proto__') given[name] = field;
  }
  return given as T;
}

/** The value if it is a number or a boolean, else its type: an object or a text may hold a secret. */
export function describe(value: unknown): string {
  if (typeof value === 'number' || typeof value === 'boolean' || value === null) return String(value);
  return Array.isArray(value) ? 'array' : typeof value;
}

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}

export function isFunction(value: unknown): value is (...values: never[]) => unknown {
  return typeof value === 'function';
}

/** `Array.isArray` for arrays that may not be changed. */
export function isList<T>(value: T | readonly T[]): value is readonly T[] {
  return Array.isArray(value);
}

/** The element at this index, which the caller knows to exist. A negative index counts from the end. */
export function at<T>(list: readonly T[], index: number): T {
  const element = list.at(index);
  if (element === undefined) throw new RangeError(`there is no element ${index}`);
  return element;
}

/** The code of a system error, such as `ECONNRESET`. */
export function codeOf(error: unknown): string | undefined {
  const code = isObject(error) ? error['code'] : undefined;
  return typeof code === 'string' ? code : undefined;
}
