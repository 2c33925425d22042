// Workers and child processes are preloaded too, also with an environment, a NODE_OPTIONS or an execArgv of their own.

import { syncBuiltinESMExports } from 'node:module';
import type { WorkerOptions } from 'node:worker_threads';
import { Patches } from './patches.ts';
import { preloaded, PRELOAD } from './settings.ts';
import type { Environment } from './settings.ts';
import { codeOf, fieldOf, isFunction, isObject } from './unknown.ts';

// Not imported: an import reads every export of a module of Node, and some of them load much.
const childProcess = process.getBuiltinModule('node:child_process');
const worker = process.getBuiltinModule('node:worker_threads');

/** The key of the global undo, for a command that starts a program with other settings. */
const INHERITED = Symbol.for('socksify.inherited');

/** The key of a global value: the preload came by --import, and not by --require. */
const IMPORTED = Symbol.for('socksify.imported');

/** The key of the settings for workers, which Node passes on to workers of workers too. */
const SETTINGS = 'socksify.settings';

type Merge = (env: Environment) => Record<string, string>;

/** In a worker: the settings of the thread that started it, whatever its program has done to the variables since. */
export function inheritedSettings(): Environment | undefined {
  const settings: unknown = worker.getEnvironmentData(SETTINGS);
  return isSettings(settings) ? settings : undefined;
}

/**
 * @param settings the variables that every child gets, in place of its own ones of these names
 * @param isPreloaded this process was preloaded, so that Node itself preloads most workers
 * @returns undo
 */
export function passOn(settings: Environment, isPreloaded = true): () => void {
  const patches = new Patches();
  worker.setEnvironmentData(SETTINGS, settings);
  patches.onUndo(() => worker.setEnvironmentData(SETTINGS, undefined));
  patches.onUndo(syncBuiltinESMExports); // runs last, when the functions are restored
  const merge: Merge = (env) => preloaded(env, settings);
  patches.wrap(childProcess.ChildProcess.prototype, 'spawn', (original, self, [options]) => {
    const pairsOfCaller: readonly string[] | undefined = options.envPairs;
    const env = pairsOfCaller ? Object.fromEntries(pairsOfCaller.map(splitPair)) : process.env;
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
  const Worker = preloadedWorker(worker.Worker, merge, isPreloaded);
  patches.replace(worker.Worker.prototype, 'constructor', Worker);
  patches.replace(worker, 'Worker', Worker);
  syncBuiltinESMExports();
  const undo = (): void => patches.undo();
  patches.define(globalThis, INHERITED, { value: undo, configurable: true });
  return undo;
}

/** True if workers and children of this thread are preloaded. */
export function passesOn(): boolean {
  return INHERITED in globalThis;
}

/** From now on children get only the settings of the code that starts them. */
export function stopPassingOn(): void {
  const stop = fieldOf(globalThis, INHERITED);
  if (isFunction(stop)) stop();
}

function isSettings(value: unknown): value is Environment {
  return isObject(value);
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

/** Adds the preload where a worker would not inherit it. */
function preloadedWorker(
  Worker: typeof worker.Worker,
  merge: Merge,
  isPreloaded: boolean,
): typeof worker.Worker {
  return new Proxy(Worker, {
    construct(original, [file, options = {}]: [unknown, WorkerOptions?], newTarget) {
      const { env, eval: isText, execArgv } = options;
      const make = (others: readonly string[] | undefined): object => {
        const own = others && !others.includes(PRELOAD) && { execArgv: ['--require', PRELOAD, ...others] };
        const merged = { ...options, ...(isObject(env) && { env: merge(env) }), ...own };
        const made: object = Reflect.construct(original, [file, merged], newTarget);
        return made;
      };
      // With SHARE_ENV, Node reads the NODE_OPTIONS of the program, which may have changed it.
      if (typeof env === 'symbol') return make(execArgv ?? []);
      // In a worker from source text, Node runs no preload of --import.
      const isPreloadedByNode = isPreloaded && !(isText && IMPORTED in globalThis);
      if (execArgv || isObject(env) || isPreloadedByNode) return make(execArgv);
      try {
        return make(process.execArgv);
      } catch (error) {
        // Workers refuse some options of a process.
        if (codeOf(error) !== 'ERR_WORKER_INVALID_EXEC_ARGV') throw error;
        return make([]);
      }
    },
  });
}
