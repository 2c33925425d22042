// Changes objects that belong to others, and undoes each change. If somebody has put another change over it meanwhile, it
// stays in place and calls the original.

import { isFunction } from './unknown.ts';

type Method = (this: any, ...args: any[]) => unknown;

/** @param original what was there before; call it with `Reflect.apply(original, self, args)` */
export type Replacement = (original: Method, self: any, args: any[]) => unknown;

export class Patches {
  readonly #undos: (() => void)[] = [];
  readonly #checks: (() => string | undefined)[] = [];
  #active = true;

  /** Wraps a method. The wrapper has the name, the length and the properties of the original. */
  wrap(object: object, key: string, replacement: Replacement): void {
    const original: unknown = Reflect.get(object, key);
    if (!isFunction(original)) return;
    // oxlint-disable-next-line typescript/no-this-alias -- the wrapper has a `this` of its own
    const patches = this;
    const wrapper = function (this: unknown, ...args: unknown[]): unknown {
      return patches.#active ? replacement(original, this, args) : Reflect.apply(original, this, args);
    };
    const properties: PropertyDescriptorMap = Object.getOwnPropertyDescriptors(original);
    delete properties['prototype'];
    this.replace(object, key, Object.defineProperties(wrapper, properties));
  }

  /** Sets a property, and remembers its descriptor. */
  replace(object: object, key: PropertyKey, value: unknown): void {
    const before = Object.getOwnPropertyDescriptor(object, key);
    const { enumerable = true } = before ?? {};
    this.define(object, key, { value, writable: true, enumerable, configurable: true });
  }

  /** Defines a property, and remembers what it replaces. */
  define(object: object, key: PropertyKey, descriptor: PropertyDescriptor): void {
    const before = Object.getOwnPropertyDescriptor(object, key);
    Reflect.defineProperty(object, key, descriptor);
    const isOurs = (): boolean => {
      const now = Object.getOwnPropertyDescriptor(object, key);
      return now !== undefined && now.value === descriptor.value && now.set === descriptor.set;
    };
    this.#checks.push(() => (isOurs() ? undefined : String(key)));
    this.#undos.push(() => {
      if (!isOurs()) return;
      if (before) Reflect.defineProperty(object, key, before);
      else Reflect.deleteProperty(object, key);
    });
  }

  /** The name of a change that did not take effect. */
  failed(): string | undefined {
    return this.#checks.map((check) => check()).find((name) => name !== undefined);
  }

  onUndo(undo: () => void): void {
    this.#undos.push(undo);
  }

  get active(): boolean {
    return this.#active;
  }

  /** Puts everything back, the latest change first. Idempotent. */
  undo(): void {
    this.#active = false;
    for (const undo of this.#undos.splice(0).toReversed()) undo();
  }
}
