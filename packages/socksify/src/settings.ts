// The environment in which a Node process, its workers and its children are preloaded.

// Not imported: an import reads every export of a module of Node, and some of them load much.
const path = process.getBuiltinModule('node:path');

/** This code lies one folder below the package, in src or in dist. */
export const PRELOAD: string = path.join(import.meta.dirname, '../dist/preload.cjs');

/** Variables that decide what is proxied. The lower-case spelling counts too. */
const PROXY_NAMES = ['SOCKS_PROXY', 'HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY', 'NO_PROXY'];
/** Those, and the variables that decide how. */
const NAMES = [...PROXY_NAMES, 'SOCKSIFY_STRICT', 'SOCKSIFY_ALLOW', 'SOCKSIFY_VERBOSE'];

export type Environment = Readonly<Record<string, string | undefined>>;

/** Those of the variables that are set. */
export function settingsOf(env: Environment): Record<string, string> {
  return pick(env, (name) => NAMES.includes(name.toUpperCase()));
}

/** The environment with these settings and the preload, in place of those that it had. */
export function preloaded(env: Environment, settings: Environment): Record<string, string> {
  const others = pick(env, (name) => !NAMES.includes(name.toUpperCase()) && name !== 'NODE_USE_ENV_PROXY');
  const merged = { ...others, ...pick(settings, () => true) };
  return { ...emptyFor(merged), ...merged, NODE_OPTIONS: withPreload(merged['NODE_OPTIONS']) };
}

/**
 * Empty values for those of the variables that are not set. An empty one counts as none, and Node takes a variable from
 * its option --env-file only if it is not set yet.
 */
function emptyFor(env: Environment): Record<string, string> {
  // Windows does not distinguish case in these names.
  const isWindows = process.platform === 'win32';
  const set = new Set(Object.keys(env).map((name) => (isWindows ? name.toUpperCase() : name)));
  const spellings = isWindows ? NAMES : [...NAMES, ...PROXY_NAMES.map((name) => name.toLowerCase())];
  return Object.fromEntries(spellings.filter((name) => !set.has(name)).map((name) => [name, '']));
}

/** The variables that are set and whose names fit. */
function pick(env: Environment, fits: (name: string) => boolean): Record<string, string> {
  const picked: Record<string, string> = {};
  for (const [name, value] of Object.entries(env)) {
    if (value !== undefined && fits(name)) picked[name] = value;
  }
  return picked;
}

/** Our preload comes first, because others could connect. With --use-env-proxy, Node would use an HTTP proxy. */
export function withPreload(options = ''): string {
  const ours = `--require=${JSON.stringify(PRELOAD)}`;
  return [ours, ...argumentsOf(options).filter((each) => each !== ours && !isEnvProxy(each))].join(' ');
}

/** The arguments in a NODE_OPTIONS, as they are written. Node splits it at spaces, unless they are quoted. */
export function argumentsOf(options: string): readonly string[] {
  return options.match(/(?:[^ "]|"(?:\\.|[^"\\])*"?)+/gs) ?? [];
}

export function isEnvProxy(argument: string): boolean {
  return /^--use[-_]env[-_]proxy$/.test(argument.replaceAll(/["\\]/g, ''));
}
