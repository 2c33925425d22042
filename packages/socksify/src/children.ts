// Workers and child processes are preloaded too, also with an environment, a NODE_OPTIONS or an execArgv of their own.

import { syncBuiltinESMExports } from 'node:module';
import type { WorkerOptions } from 'node:worker_threads';
import { Patches } from './patches.ts';
import { preloaded, PRELOAD } from './settings.ts';
import type { Environment } from './settings.ts';
import { fieldOf, isFunction, isObject } from './unknown.ts';

// Not imported: an import reads every export of a module of Node, and some of them load much.
const childProcess = process.getBuiltinModule('node:child_process');
const worker = process.getBuiltinModule('node:worker_threads');

/** The key of the global undo, for a command that starts a program with other settings. */
const INHERITED = Symbol.for('socksify.inherited');

type Merge = (env: Environment) => Record<string, string>;

/** @param settings the variables that every child gets, in place of its own ones of these names */
export function passOn(settings: Environment): void {
  const patches = new Patches();
  patches.onUndo(syncBuiltinESMExports); // runs last, when the functions are restored
  const merge: Merge = (env) => preloaded(env, settings);
  patches.wrap(childProcess.ChildProcess.prototype, 'spawn', (original, self, [options]) => {
    const pairsOfCaller: readonly string[] | undefined = options.envPairs;
    if (!pairsOfCaller) return Reflect.apply(original, self, [options]);
    const env = Object.fromEntries(pairsOfCaller.map(splitPair));
    const pairs = Object.entries(merge(env)).map(([name, value]) => `${name}=${value}`);
    return Reflect.apply(original, self, [{ ...options, envPairs: pairs }]);
  });
  for (const name of ['spawnSync', 'execFileSync', 'execSync']) {
    patches.wrap(childProcess, name, (original, self, args) =>
      Reflect.apply(original, self, withEnvironment(name === 'execSync' ? 1 : 2, args, merge)),
    );
  }
  patches.wrap(process, 'execve', (original, self, [file, args, env = process.env]) =>
    Reflect.apply(original, self, [file, args, merge(env)]),
  );
  const Worker = preloadedWorker(worker.Worker, merge);
  patches.replace(worker.Worker.prototype, 'constructor', Worker);
  patches.replace(worker, 'Worker', Worker);
  syncBuiltinESMExports();
  Object.defineProperty(globalThis, INHERITED, { value: () => patches.undo(), configurable: true });
}

/** From now on children get only the settings of the code that starts them. */
export function stopPassingOn(): void {
  const stop = fieldOf(globalThis, INHERITED);
  if (isFunction(stop)) stop();
}

function isOptions(value: unknown): value is { readonly env?: Environment } {
  return isObject(value) && !Array.isArray(value);
}

/** Arguments are (file, args?, options?) or (command, options?). */
function withEnvironment(most: number, args: readonly unknown[], merge: Merge): unknown[] {
  const at = args.findIndex((value, index) => index > 0 && index <= most && isOptions(value));
  const given = args[at];
  const options = isOptions(given) ? given : {};
  const merged = { ...options, env: merge(options.env ?? process.env) };
  if (at !== -1) return args.with(at, merged);
  const others = args.slice(0, most).filter((value) => value !== undefined && value !== null);
  return [...others, merged];
}

function splitPair(pair: string): [string, string] {
  // On Windows a name can begin with an equals sign.
  const at = pair.indexOf('=', 1);
  return [pair.slice(0, at), pair.slice(at + 1)];
}

/** Adds the preload to an `env` or `execArgv` of a worker's own. A worker without them inherits it. */
function preloadedWorker(Worker: typeof worker.Worker, merge: Merge): typeof worker.Worker {
  return new Proxy(Worker, {
    construct(original, [file, options = {}]: [unknown, WorkerOptions?], newTarget) {
      const { env, execArgv } = options;
      const merged = {
        ...options,
        ...(isObject(env) && { env: merge(env) }),
        ...(execArgv && !execArgv.includes(PRELOAD) && { execArgv: ['--require', PRELOAD, ...execArgv] }),
      };
      const made: object = Reflect.construct(original, [file, merged], newTarget);
      return made;
    },
  });
}
