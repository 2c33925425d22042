// Stands for node:timers in the sources, so that a test sees which timers are set, and can make them faster:
// `vi.mock('node:timers', () => import('./watched-timers.ts'))`.

const real = process.getBuiltinModule('node:timers');

/** Timers that were set, and have neither been cleared nor fired. */
export const pending = new Set<NodeJS.Timeout>();
/** The milliseconds of all timers since `watch()`. */
export const delays: number[] = [];
/** Of those that fired. */
export const fired: number[] = [];
let speed = 1;
let held: (() => void)[] | undefined;

/** Forgets what was seen. From now on, timers of one to five seconds take so many times less. */
export function watch(faster = 1): void {
  pending.clear();
  delays.length = fired.length = 0;
  speed = faster;
  held = undefined;
}

/** From now on, what is to run after the present turn waits until the returned function is called. */
export function holdImmediates(): { readonly held: readonly (() => void)[]; readonly run: () => void } {
  const holding: (() => void)[] = (held = []);
  const run = (): void => {
    held = undefined;
    for (const callback of holding) callback();
  };
  return { held: holding, run };
}

export function setTimeout<Args extends unknown[]>(
  callback: (...args: Args) => void,
  milliseconds: number,
  ...args: Args
): NodeJS.Timeout {
  delays.push(milliseconds);
  const fire = (): void => {
    pending.delete(timer);
    fired.push(milliseconds);
    callback(...args);
  };
  const isFaster = milliseconds >= 1000 && milliseconds <= 5000;
  const timer = real.setTimeout(fire, isFaster ? milliseconds / speed : milliseconds);
  pending.add(timer);
  return timer;
}

export function clearTimeout(timer: NodeJS.Timeout | undefined): void {
  if (timer) pending.delete(timer);
  real.clearTimeout(timer);
}

export function setImmediate(callback: () => void): void {
  if (held) held.push(callback);
  else real.setImmediate(callback);
}
