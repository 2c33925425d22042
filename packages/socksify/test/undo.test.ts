// install() in the process itself: what it changes, and that undo puts everything back.

import { afterEach, expect, test } from 'vitest';
import { startNetwork } from './network.ts';
import { execute, here, results, run } from './run-program.ts';
import { install } from '../src/install.ts';

const FILE = JSON.stringify(new URL('../dist/index.js', import.meta.url));

/** Prints everything that the globals and the modules lead to: property by property, with listeners and channels. */
const SNAPSHOT = `
  import { createRequire, builtinModules } from 'node:module';
  import dc from 'node:diagnostics_channel';
  const require = createRequire(import.meta.url);
  const modules = ['http', 'https', 'net', 'tls', 'http2', 'dns', 'dns/promises', 'dgram', 'child_process', 'worker_threads', 'cluster'];
  const channels = ['undici:client:beforeConnect', 'undici:client:connected', 'socksify:tunnel:end'];
  const ids = new Map();
  const id = (value) => typeof value === 'function' || (typeof value === 'object' && value !== null)
    ? (ids.has(value) || ids.set(value, ids.size), '#' + ids.get(value)) : String(value);
  const describe = (object) => Reflect.ownKeys(object).map((key) => {
    const { value, get, set, ...flags } = Object.getOwnPropertyDescriptor(object, key);
    return [String(key), id(value), id(get), id(set), JSON.stringify(flags)].join(' ');
  });
  const native = (name) => process.binding(name);
  const objects = () => {
    const all = { globalThis, process, report: process.report };
    for (const name of modules) {
      const exports = require(name);
      all[name] = exports;
      for (const [key, value] of Object.entries(exports)) {
        if (typeof value === 'function' && value.prototype) all[name + '.' + key] = value.prototype;
      }
    }
    all['dns.promises'] = require('dns').promises;
    all['dns.promises.Resolver'] = require('dns').promises.Resolver.prototype;
    all.TCP = native('tcp_wrap').TCP.prototype;
    all.UDP = native('udp_wrap').UDP.prototype;
    all.cares = native('cares_wrap');
    all.channel = native('cares_wrap').ChannelWrap.prototype;
    all.agents = [require('http').globalAgent, require('https').globalAgent];
    return all;
  };
  void globalThis.Headers;
  const snapshot = () => ({
    ...Object.fromEntries(Object.entries(objects()).map(([name, object]) => [name, describe(object)])),
    listeners: process.eventNames().map((name) => String(name) + process.listenerCount(name)),
    channels: channels.map((name) => dc.hasSubscribers(name)),
    environment: JSON.stringify(process.env),
    imports: [http.request, net.connect, dns.lookup, Worker].map(id),
  });
  import * as http from 'node:http';
  import * as net from 'node:net';
  import * as dns from 'node:dns';
  import { Worker } from 'node:worker_threads';
  const differences = (one, other) => Object.keys(one).filter((name) => JSON.stringify(one[name]) !== JSON.stringify(other[name]));
`;

test.each(['false', 'true', "'tcp'"])(
  'undo leaves the process as it was, with strict: %s',
  async (strict) => {
    const ended = await execute(process.execPath, [
      '--input-type=module',
      '--eval',
      `${SNAPSHOT}
     const { install } = await import(${FILE});
     const before = snapshot();
     const undo = install({ proxy: 'socks5://127.0.0.1:1', strict: ${strict} });
     const during = snapshot();
     undo();
     const after = snapshot();
     undo();
     console.log(JSON.stringify([differences(before, after), differences(before, during).length > 0]));`,
    ]);
    expect(ended.stderr).toBe('');
    expect(JSON.parse(ended.stdout)).toEqual([[], true]);
  },
);

test('a second call replaces the first, and the undo of the first does nothing then', async () => {
  const network = await startNetwork();
  const source = `
    import { install } from ${FILE};
    const get = async () => (await fetch(http1)).text();
    const first = install({ proxy: 'socks5://127.0.0.1:1' });
    await attempt('first', get);
    const second = install({ proxy: process.env.SOCKS_PROXY });
    await attempt('second', get);
    first();
    await attempt('after the undo of the first', get);
    second();
    await attempt('direct', async () => (await fetch('http://127.0.0.1:' + HTTP)).text());
    process.exit();`;
  try {
    expect(results(await run(network, source, {}, []))).toEqual({
      first: 'ERR_SOCKS_PROXY_UNREACHABLE',
      second: 'hello',
      'after the undo of the first': 'hello',
      direct: 'hello',
    });
    expect(network.direct()).toBe(1);
  } finally {
    await network.close();
  }
});

test('a change that others have put over it stays, and calls the original after undo', async () => {
  const network = await startNetwork();
  const source = `
    import http from 'node:http';
    import net from 'node:net';
    import { install } from ${FILE};
    const undo = install();
    const ours = net.Socket.prototype.connect;
    net.Socket.prototype.connect = function connect(...args) { return Reflect.apply(ours, this, args); };
    undo();
    await attempt('direct', async () => (await fetch('http://127.0.0.1:' + HTTP)).text());
    process.exit();`;
  try {
    expect(results(await run(network, source, {}, []))).toEqual({ direct: 'hello' });
  } finally {
    await network.close();
  }
});

test('throws when something cannot be replaced, and changes nothing', async () => {
  const source = `
    import http from 'node:http';
    import net from 'node:net';
    import { install } from ${FILE};
    const { connect } = net.Socket.prototype;
    const { addRequest } = http.Agent.prototype;
    Object.defineProperty(net.Socket.prototype, 'connect', { value: connect, writable: false, configurable: false });
    try {
      install({ proxy: 'socks5://127.0.0.1:1' });
    } catch (error) {
      console.log(error.code, error.message);
    }
    console.log(net.Socket.prototype.connect === connect, http.Agent.prototype.addRequest === addRequest);`;
  const ended = await execute(process.execPath, ['--input-type=module', '--eval', source]);
  expect(ended.stdout).toBe(
    'ERR_INVALID_STATE socksify did not take effect: connect cannot be replaced\ntrue true\n',
  );
  void here;
});

let undo: (() => void) | undefined;
afterEach(() => undo?.());

test.each([
  ['a proxy that is no URL', { proxy: 'x' }, 'ERR_SOCKS_INVALID_PROXY'],
  ['an empty chain', { proxy: [] }, 'ERR_SOCKS_INVALID_PROXY'],
  [
    'a proxy object with a wrong version',
    { proxy: { version: 6, host: 'h', port: 1 } },
    'ERR_SOCKS_INVALID_PROXY',
  ],
  ['an unknown level', { proxy: 'socks5://h', strict: 'udp' }, 'ERR_INVALID_ARG_VALUE'],
  ['a list that is a number', { proxy: 'socks5://h', allow: 5 }, 'ERR_INVALID_ARG_VALUE'],
  ['a list that is null', { proxy: 'socks5://h', allow: null }, 'ERR_INVALID_ARG_VALUE'],
  ['an entry that is no text', { proxy: 'socks5://h', allow: ['h', 5] }, 'ERR_INVALID_ARG_VALUE'],
  ['a URL in place of options', 'socks5://h', 'ERR_INVALID_ARG_VALUE'],
  ['no options', null, 'ERR_INVALID_ARG_VALUE'],
])('throws at once for %s', (_, options, code) => {
  expect(() => (undo = install(options as object))).toThrow(expect.objectContaining({ code }));
});
