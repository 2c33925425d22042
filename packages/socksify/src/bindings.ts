// The native modules that `process.binding` shows to every program, and that Node's own modules use below.

/** Undefined if there is no binding of this name, or if the permission model forbids it. */
export function bindingOf(name: string): object | undefined {
  const { binding, noDeprecation } = process as unknown as {
    binding: (name: string) => object;
    noDeprecation?: boolean;
  };
  try {
    process.noDeprecation = true;
    return Reflect.apply(binding, process, [name]);
  } catch {
    return undefined;
  } finally {
    if (noDeprecation === undefined) delete (process as { noDeprecation?: boolean }).noDeprecation;
    else process.noDeprecation = noDeprecation;
  }
}
