// Preloaded by Node: installs what the environment says, and passes it on to workers and children. Whatever is missing or
// wrong ends the process before the program starts.

import { subscribe } from 'node:diagnostics_channel';
import type { TunnelMessage } from '@socksify/core';
import { inheritedSettings, passOn } from './children.ts';
import { installFrom } from './install.ts';
import { argumentsOf, isEnvProxy, preloaded, settingsOf, withPreload } from './settings.ts';
import type { Strict } from './sockets.ts';
import { codeOf, isObject, messageOf } from './unknown.ts';

// Not imported: an import reads every export of a module of Node, and some of them load much.
const { writeSync } = process.getBuiltinModule('node:fs');
const { isMainThread } = process.getBuiltinModule('node:worker_threads');

try {
  register();
} catch (error) {
  // In a worker, exit() would end it without an error.
  if (!isMainThread) throw error;
  writeSync(2, `socksify: ${messageOf(error)}\n`);
  process.exit(1);
}

function register(): void {
  const { env } = process;
  refuseOtherProxy();
  const settings = inheritedSettings() ?? settingsOf(env);
  const strict = strictOf(settings['SOCKSIFY_STRICT']);
  installFrom(preloaded(env, settings), { strict, allow: settings['SOCKSIFY_ALLOW'] ?? '' });
  passOn(settings);
  // A preload of the command line is passed on by the environment.
  if (isMainThread) env['NODE_OPTIONS'] = withPreload(env['NODE_OPTIONS']);
  if (settings['SOCKSIFY_VERBOSE'] === '1') printTunnels();
}

function strictOf(value: string | undefined): Strict {
  if (value === undefined || value === '') return false;
  if (value === '1') return true;
  if (value === 'tcp') return 'tcp';
  throw new Error(
    `environment variable SOCKSIFY_STRICT: write 1 or tcp, not ${JSON.stringify(value.slice(0, 20))}`,
  );
}

/** With NODE_USE_ENV_PROXY, Node would send fetch to an HTTP proxy. It sets that up after the preloads have run. */
function refuseOtherProxy(): void {
  const { env, execArgv } = process;
  const isVariable = env['NODE_USE_ENV_PROXY'] === '1';
  const isUsed = isVariable || [...execArgv, ...argumentsOf(env['NODE_OPTIONS'] ?? '')].some(isEnvProxy);
  const other = ['http_proxy', 'HTTP_PROXY', 'https_proxy', 'HTTPS_PROXY'].find((name) => env[name]);
  if (isUsed && other !== undefined) {
    const set = isVariable ? 'NODE_USE_ENV_PROXY' : '--use-env-proxy';
    throw new Error(
      `${set} makes Node use the HTTP proxy of ${other}: remove it, or start with the command socksify`,
    );
  }
}

function printTunnels(): void {
  for (const event of ['end', 'error']) {
    subscribe(`socksify:tunnel:${event}`, (message) => {
      if (isTunnelMessage(message)) print(message);
    });
  }
}

function isTunnelMessage(message: unknown): message is TunnelMessage {
  return isObject(message) && 'proxies' in message && 'durations' in message;
}

function print({ proxies, destination, durations, error }: TunnelMessage): void {
  const result = error === undefined ? 'open' : (codeOf(error) ?? messageOf(error));
  const path = proxies.length > 0 ? `through ${proxies.join(' > ')}` : 'directly';
  const time = Object.values(durations).reduce((sum, each) => sum + each, 0);
  try {
    writeSync(2, `socksify: ${destination} ${path}: ${result} after ${Math.round(time)} ms\n`);
  } catch {
    // The reader of the lines may have ended. The program runs on.
  }
}
