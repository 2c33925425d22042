// Reads values whose type is not known: what others throw, publish or pass.

export function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}

export function isFunction(value: unknown): value is (...args: unknown[]) => unknown {
  return typeof value === 'function';
}

/** A property of an object or a function; undefined for every other value. */
export function fieldOf(value: unknown, key: PropertyKey): unknown {
  return isObject(value) || isFunction(value) ? Reflect.get(value, key) : undefined;
}

/** The code of an error, if it is text. */
export function codeOf(error: unknown): string | undefined {
  const code = fieldOf(error, 'code');
  return typeof code === 'string' ? code : undefined;
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
