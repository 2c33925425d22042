// The errors that this package makes: those of its own, and those of undici, with the name, code and symbols by which
// programs recognise them.

const ERRORS = {
  ABORTED: ['AbortError', 'Request aborted'],
  INVALID_ARG: ['InvalidArgumentError', 'invalid callback'],
  MAX_ORIGINS_REACHED: ['MaxOriginsReachedError', 'Maximum allowed origins reached'],
} as const;

export function undiciError(kind: keyof typeof ERRORS): Error {
  const [name, message] = ERRORS[kind];
  const code = `UND_ERR_${kind}`;
  const error = Object.assign(new Error(message), { code });
  error.name = name;
  // What `instanceof` looks for in undici 7 and 8.
  for (const mark of ['UND_ERR', code]) {
    Object.defineProperty(error, Symbol.for(`undici.error.${mark}`), { value: true });
  }
  return error;
}

/** Gives an error the code by which programs recognise it. */
export function withCode<E extends Error>(error: E, code: string): E {
  return Object.assign(error, { code });
}
