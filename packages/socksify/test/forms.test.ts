// The ordinary level: less common forms in which http clients dial, and processes in which they run.

import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeFolder } from './folder.ts';
import { startNetwork } from './network.ts';
import type { Network } from './network.ts';
import { execute, REGISTER, results, run } from './run-program.ts';
import type { Ended } from '@socksify/support';

let network: Network;
beforeAll(async () => {
  network = await startNetwork();
});
afterAll(() => network.close());

const folder = makeFolder();

const [major = 0] = process.versions.node.split('.').map(Number);
const BYPASS = 'ERR_SOCKS_BYPASS';

const PRELUDE = `
  import http from 'node:http';
  import https from 'node:https';
  import net from 'node:net';
  import tls from 'node:tls';
  import { once } from 'node:events';
  import { AsyncResource } from 'node:async_hooks';
  import { Duplex } from 'node:stream';
  import * as undici from 'undici7';
  // The site by its address: a program can connect to it directly, and through the proxy.
  const url = 'http://127.0.0.1:' + HTTP, secure = 'https://127.0.0.1:' + HTTPS;
  const to = { host: '127.0.0.1', port: Number(HTTP) }, over = { host: '127.0.0.1', port: Number(HTTPS) };
  const send = (options, module = http) => new Promise((resolve, reject) =>
    module.get(module === http ? url : secure, options, resolve).on('error', reject)).then(read);
  const get = { path: '/', method: 'GET' };
  const body = async (response) => (await response).body.text();
`;

async function program(source: string): Promise<{ found: Record<string, string>; direct: number }> {
  const before = network.direct();
  const ended = await run(network, `${PRELUDE}${source}\nprocess.exit();`);
  return { found: results(ended), direct: network.direct() - before };
}

test('dials of less common forms are sent through the proxy', async () => {
  const { found, direct } = await program(
    `await attempt('localAddress', () => send({ localAddress: '127.0.0.1' }));
     await attempt('autoSelectFamily', () => send({ autoSelectFamily: true }));
     await attempt('lookup', () => send({ host: 'origin.test', lookup: (name, options, done) =>
       options.all ? done(null, [{ address: '127.0.0.1', family: 4 }]) : done(null, '127.0.0.1', 4) }));
     const socket = new net.Socket();
     await attempt('socket made before', () => send({ createConnection: () => socket.connect(to) }));
     await attempt('tls over net', () => send({ createConnection: () =>
       tls.connect({ socket: net.connect(over), servername: 'origin.test' }) }, https));
     const agent = new http.Agent();
     agent.createConnection = (options) => process.getBuiltinModule('net').connect(options.port, options.host);
     await attempt('createConnection of an agent', () => send({ agent }));
     class Later extends http.Agent {
       createSocket(...args) { setImmediate(() => super.createSocket(...args)); }
     }
     await attempt('createSocket', () => send({ agent: new Later() }));
     const connect = (options, done) => { const socket = net.connect(to, () => done(null, socket)); };
     await attempt('connector', () => body(new undici.Client(url, { connect }).request(get)));
     await attempt('balanced pool', () => body(new undici.BalancedPool([url]).request(get)));
     const h2 = new undici.Pool('https://127.0.0.1:' + H2, { allowH2: true, connect: { servername: 'origin.test' } });
     await attempt('HTTP/2 of undici', async () => (await body(h2.request(get))).replace('h2', 'hello'));`,
  );
  const names = ['localAddress', 'autoSelectFamily', 'lookup', 'socket made before', 'tls over net'].concat([
    'createConnection of an agent',
    'createSocket',
    'connector',
    'balanced pool',
    'HTTP/2 of undici',
  ]);
  expect(found).toEqual(Object.fromEntries(names.map((name) => [name, 'hello'])));
  expect(direct).toBe(0);
});

test('a dial outside of the request is refused before a request is written to it', async () => {
  const { found } = await program(
    `const bound = AsyncResource.bind(() => net.connect(to));
     const given = net.connect(over);
     await once(given, 'connect');
     const late = async (options, done) => { await null; await null; const socket = net.connect(to, () => done(null, socket)); };
     const second = (options, done) => { net.connect(to).on('error', () => {}); const socket = net.connect(to, () => done(null, socket)); };
     await attempt('AsyncResource.bind', () => send({ createConnection: () => bound() }));
     await attempt('socket option', () => send({ socket: given, agent: new https.Agent(), servername: 'origin.test' }, https));
     await attempt('connector that waits', () => body(new undici.Client(url, { connect: late }).request(get)));
     await attempt('second dial of a connector', () => body(new undici.Client(url, { connect: second }).request(get)));
     await attempt('socketPath of undici', () => body(new undici.Client(url, { socketPath: '/tmp/socksify-none.sock' }).request(get)));`,
  );
  const names = ['AsyncResource.bind', 'socket option', 'connector that waits', 'second dial of a connector'];
  expect(found).toEqual(Object.fromEntries([...names, 'socketPath of undici'].map((name) => [name, BYPASS])));
});

test('a stream that hides the direct connection of its program is left alone: only strict covers it', async () => {
  const source = `${PRELUDE}
    await attempt('stream', async () => {
      const socket = net.connect(to);
      await once(socket, 'connect');
      const stream = Duplex.from({ readable: socket, writable: socket });
      return send({ createConnection: () => stream });
    });
    process.exit();`;
  expect(results(await run(network, source))).toEqual({ stream: 'hello' });
  expect(results(await run(network, source, { SOCKSIFY_STRICT: '1' }))).toEqual({ stream: BYPASS });
});

const FETCH = `fetch(process.env.SITE).then((r) => r.text()).then((t) => console.log(t), (e) => console.log(e.cause.code))`;

/** Preloaded by NODE_OPTIONS. */
async function started(args: readonly string[]): Promise<{ ended: Ended; direct: number }> {
  const before = network.direct();
  const ended = await execute(process.execPath, args, {
    SOCKS_PROXY: network.url,
    NODE_OPTIONS: `--require=${JSON.stringify(REGISTER)}`,
    SITE: `http://127.0.0.1:${network.web.http}/`,
  });
  return { ended, direct: network.direct() - before };
}

test('a program under the permission model is covered', async () => {
  const flag = major === 20 ? '--experimental-permission' : '--permission';
  const net = process.allowedNodeEnvironmentFlags.has('--allow-net') ? ['--allow-net'] : [];
  const { ended, direct } = await started([flag, '--allow-fs-read=*', ...net, '--eval', FETCH]);
  expect([ended.stdout, direct]).toEqual(['hello\n', 0]);
});

test('a program that starts from a snapshot is covered, whether the snapshot was built with the preload or not', async () => {
  const main = folder.write(
    'snapshot.cjs',
    `require('node:v8').startupSnapshot.setDeserializeMainFunction(() => { ${FETCH} });`,
  );
  for (const env of [
    {},
    { SOCKS_PROXY: network.url, NODE_OPTIONS: `--require=${JSON.stringify(REGISTER)}` },
  ]) {
    const blob = join(folder.path, `${Object.keys(env).length}.blob`);
    const built = await execute(process.execPath, ['--snapshot-blob', blob, '--build-snapshot', main], env);
    expect(built.status, built.stderr).toBe(0);
    const { ended, direct } = await started(['--snapshot-blob', blob]);
    expect([ended.stdout, direct]).toEqual(['hello\n', 0]);
  }
});

test('tests of node:test, and hooks of a module loader in their thread, are covered', async () => {
  const suite = folder.write(
    'site.test.cjs',
    `require('node:test')('site', async () => require('node:assert').equal(await (await fetch(process.env.SITE)).text(), 'hello'));`,
  );
  const tested = await started(['--test', suite]);
  expect(tested.ended.status, tested.ended.stdout).toBe(0);
  const hooks = `export async function resolve(name, context, next) {
    if (name !== 'site:') return next(name, context);
    const text = await (await fetch(process.env.SITE)).text();
    return { url: 'data:text/javascript,export default ' + JSON.stringify(text), shortCircuit: true };
  }`;
  const source = `import { register } from 'node:module';
    register(${JSON.stringify(`data:text/javascript,${encodeURIComponent(hooks)}`)});
    console.log((await import('site:')).default);`;
  const loaded = await started(['--input-type=module', '--eval', source]);
  expect([loaded.ended.stdout, tested.direct + loaded.direct]).toEqual(['hello\n', 0]);
});
