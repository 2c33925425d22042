// The native modules that `process.binding` shows to every program, and that Node's own modules use below.

import { fieldOf, isFunction, isObject } from './unknown.ts';

/** Undefined if there is no binding of this name, or if the permission model forbids it. */
export function bindingOf(name: string): object | undefined {
  const binding = fieldOf(process, 'binding');
  const { noDeprecation } = process;
  if (!isFunction(binding)) return undefined;
  try {
    process.noDeprecation = true;
    const found = Reflect.apply(binding, process, [name]);
    return isObject(found) ? found : undefined;
  } catch {
    return undefined;
  } finally {
    if (noDeprecation === undefined) Reflect.deleteProperty(process, 'noDeprecation');
    else process.noDeprecation = noDeprecation;
  }
}
