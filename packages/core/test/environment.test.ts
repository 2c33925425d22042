// Core in a program whose globals are not those of Node: those of a DOM, as in test runners, or those of a context of
// node:vm. And the signals of the caller, which keep no listener of ours.

import { getEventListeners, getMaxListeners } from 'node:events';
import { startServer } from '@socksify/server';
import type { SocksServer } from '@socksify/server';
import { bytes, IN_ORDER, startEcho, startRawServer } from '@socksify/support';
import type { TcpDestination } from '@socksify/support';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { connect, SocksClient } from '../src/index.ts';
import { CORE, runCore } from './core-program.ts';
import { GRANTED, startRawProxy, startScripted } from './proxies.ts';

let server: SocksServer;
let echo: TcpDestination;
let port: number;
beforeAll(async () => {
  server = await startServer({ users: { u: 'pä' } });
  echo = await startEcho();
  ({ port } = echo);
});
afterAll(async () => {
  await server.close();
  await echo.close();
});
const url = () => server.url('socks5', { username: 'u', password: 'pä' });

describe('the signal of the caller', () => {
  const here = () => ({ host: '127.0.0.1', port });

  test('has one listener during all attempts, and none afterwards', async () => {
    const { signal } = new AbortController();
    const limit = getMaxListeners(signal);
    const client = new SocksClient(url(), { standby: 1 });
    const attempts = Array.from({ length: 30 }, (_, i) =>
      (i % 2 ? client : { connect: connect.bind(null, url()) }).connect(here(), { signal }),
    );
    expect(getEventListeners(signal, 'abort')).toHaveLength(1);
    for (const { socket } of await Promise.all(attempts)) socket.destroy();
    await connect(url(), { host: 'unknown.test', port: 1 }, { signal }).catch(() => {});
    await connect('socks5://', here(), { signal }).catch(() => {});
    await client.close();
    expect(getEventListeners(signal, 'abort')).toHaveLength(0);
    expect(getMaxListeners(signal)).toBe(limit);
  });

  test('ends all attempts, each with its reason', async () => {
    const silent = await startScripted({ stall: true });
    const controller = new AbortController();
    const { signal } = controller;
    const attempts = Array.from({ length: 12 }, () =>
      connect(silent.url('socks5'), here(), { signal }).catch((error: unknown) => error),
    );
    await silent.connection(11);
    controller.abort('enough');
    expect(new Set(await Promise.all(attempts))).toEqual(new Set(['enough']));
    await Promise.all(silent.connections.map(({ closedByClient }) => closedByClient));
  });

  test('gets no warning of a leak from Node', async () => {
    const source = `
      const [, url, port] = process.argv;
      const { signal } = new AbortController();
      const one = () => core.connect(url, { host: '127.0.0.1', port: Number(port) }, { signal }).then(({ socket }) => socket.destroy());
      await Promise.all(Array.from({ length: 50 }, one));
      for (let i = 0; i < 20; i++) await one();
    `;
    expect(await runCore(source, [url(), port])).toEqual(IN_ORDER);
  });
});

// What a DOM puts in place of the globals of Node: timers that are numbers, and classes of its own.
const IMPOSTORS = `
  const real = { setTimeout, setInterval, setImmediate, clearTimeout, clearInterval };
  const timers = new Map();
  let last = 0;
  for (const name of ['setTimeout', 'setInterval']) {
    globalThis[name] = (...given) => { timers.set(++last, real[name](...given)); return last; };
  }
  for (const name of ['clearTimeout', 'clearInterval']) globalThis[name] = (id) => real[name](timers.get(id));
  delete globalThis.setImmediate;
  delete globalThis.clearImmediate;
  globalThis.TextDecoder = class { constructor() { throw new TypeError('an impostor'); } };
  globalThis.TextEncoder = globalThis.TextDecoder;
  const NodeURL = URL;
  globalThis.URL = class URL {
    #url;
    constructor(...given) { this.#url = new NodeURL(...given); }
    get href() { return this.#url.href; }
    toString() { return this.#url.href; }
  };
  class Signal {
    aborted = false;
    reason = undefined;
    listeners = new Set();
    addEventListener(type, listener) { if (type === 'abort') this.listeners.add(listener); }
    removeEventListener(type, listener) { this.listeners.delete(listener); }
  }
  globalThis.AbortSignal = Signal;
  globalThis.AbortController = class {
    signal = new Signal();
    abort(reason) {
      this.signal.aborted = true;
      this.signal.reason = reason;
      for (const listener of [...this.signal.listeners]) listener.call(this.signal, { type: 'abort' });
    }
  };
  globalThis.Event = globalThis.EventTarget = globalThis.DOMException = globalThis.MessageChannel = undefined;
`;

/** One program that uses all globals that core uses. It prints nothing when all is well. */
const EXERCISE = `
  const { connect, parseProxy, SocksClient, chainKey } = core;
  const to = { host: '127.0.0.1', port: Number(port) };
  const expectTunnel = async (attempt) => {
    const { socket } = await attempt;
    socket.write('hello');
    await new Promise((resolve, reject) => {
      let echoed = '';
      socket.on('data', (chunk) => (echoed += chunk) === 'hello' && resolve()).on('error', reject).on('end', reject);
    });
    socket.destroy();
  };
  const failure = (attempt) => attempt.then(() => { throw new Error('it succeeded'); }, (error) => error);
  await expectTunnel(connect(url, to));
  await expectTunnel(connect(url, to, { pipeline: true, timeout: 5000 }));
  const refused = await failure(connect(url, { host: '::1', port: 1 }));
  if (refused.code !== 'ERR_SOCKS_CONNECTION_REFUSED') throw refused;
  const controller = new AbortController();
  const { signal } = controller;
  await expectTunnel(connect(url, to, { signal }));
  const silentTo = 'socks5://127.0.0.1:' + silent;
  const attempts = Array.from({ length: 12 }, () => failure(connect(silentTo, to, { signal })));
  setTimeout(() => controller.abort('enough'), 20);
  if ((await Promise.all(attempts)).some((reason) => reason !== 'enough')) throw new Error('not the reason');
  if ((await failure(connect(silentTo, to, { signal }))) !== 'enough') throw new Error('not the reason');
  if (signal.listeners && signal.listeners.size > 0) throw new Error('a listener is left');
  const late = await failure(connect(silentTo, to, { timeout: 30 }));
  if (late.code !== 'ERR_SOCKS_TIMEOUT') throw late;
  const client = new SocksClient(() => url, { standby: 2 });
  await expectTunnel(client.connect(to));
  // A standby connection that is ready keeps no process alive, and so is no active resource.
  const isBusy = () => process.getActiveResourcesInfo().some((name) => name.startsWith('TCP'));
  while (isBusy()) await new Promise((resolve) => setTimeout(resolve, 1));
  await expectTunnel(client.connect(to));
  if (chainKey([parseProxy(url)]) !== chainKey([parseProxy(url)])) throw new Error('not the same key');
  // The client is not closed: standby connections keep no process alive.
`;

describe('core works', () => {
  let silent: { port: number; close: () => Promise<void> };
  beforeAll(async () => {
    silent = await startRawServer((socket) => socket.pause());
  });
  afterAll(() => silent.close());

  test.each([
    ['that exist before core is loaded', IMPOSTORS, ''],
    ['that come after core was loaded', '', IMPOSTORS],
  ])('with the globals of a DOM %s', async (_, before, after) => {
    const source = `
      const [, url, port, silent, file] = process.argv;
      ${before}
      const core = await import(file + '?anew');
      ${after}
      ${EXERCISE}
    `.replaceAll('import * as core', '');
    const ending = await runCore(`{ ${source} }`, [url(), port, silent.port, CORE]);
    expect(ending).toEqual(IN_ORDER);
  });

  test('in a context of node:vm, with the objects of that context', async () => {
    const source = `
      import { readFileSync } from 'node:fs';
      import vm from 'node:vm';
      const [, url, port, silent, file] = process.argv;
      const context = vm.createContext({ process, Buffer, performance, setTimeout, URL, AbortController, url, port, silent });
      const link = async (specifier) => {
        const module = await import(specifier);
        const names = Object.keys(module);
        return new vm.SyntheticModule(names, function () { for (const name of names) this.setExport(name, module[name]); }, { context });
      };
      const module = new vm.SourceTextModule(readFileSync(new URL(file), 'utf8'), { context });
      await module.link(link);
      await module.evaluate();
      context.core = module.namespace;
      await vm.runInContext(${JSON.stringify(`(async () => { ${EXERCISE} 
        const method = { id: 0x80, *authenticate() { return { seal: (data) => Buffer.from(data), *open() { return yield { read: 1, phase: 'request' }; } }; } };
        await expectTunnel(connect(sealed, to, { auth: [method] }));
      })()`)}.replace('sealed', JSON.stringify(process.argv[5])), context);
    `;
    const sealed = await startRawProxy(async (socket, read) => {
      await read(3);
      socket.write(bytes('0580'));
      await read(10);
      socket.write(bytes(GRANTED));
      socket.pipe(socket);
    });
    const flags = ['--experimental-vm-modules', '--no-warnings'];
    const ending = await runCore(source, [url(), port, silent.port, CORE, sealed.url], flags);
    expect(ending).toEqual(IN_ORDER);
  });
});
