// The ordinary level: http, https, fetch and every undici go through the proxy, other sockets are left alone.

import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { startScript } from '@socksify/server';
import { startNetwork } from './network.ts';
import type { Network } from './network.ts';
import { REGISTER, results, run } from './run-program.ts';

let network: Network;
beforeAll(async () => {
  network = await startNetwork();
});
afterAll(() => network.close());
afterEach(() => {
  for (const { atyp, host } of network.proxy.log.splice(0))
    expect([atyp, host]).toEqual(['name', 'origin.test']);
});

const [major = 0] = process.versions.node.split('.').map(Number);
const direct = (): number => network.direct();

/** Every attempt says `hello`, and no connection but those of the proxy comes to the site. */
async function expectAll(source: string, names: readonly string[]): Promise<void> {
  const before = direct();
  const ended = await run(network, source);
  expect(results(ended)).toEqual(Object.fromEntries(names.map((name) => [name, 'hello'])));
  expect(direct()).toBe(before);
  expect(ended.status).toBe(0);
}

describe('the ordinary level sends through the proxy', () => {
  test('http and https in every form of import, and with references taken early', () =>
    expectAll(
      `import http, { get, request as named } from 'node:http';
       import * as all from 'https';
       import { createRequire } from 'node:module';
       const require = createRequire(process.cwd() + '/');
       const { get: required } = require('http');
       const { request: ofHttps } = require('node:https');
       const dynamic = await import('https');
       const send = (get, url, options = {}) =>
         new Promise((resolve, reject) => get(url, options, resolve).on('error', reject).end()).then(read);
       await attempt('default import', () => send(http.get, http1));
       await attempt('named import', () => send(get, http1));
       await attempt('named request', () => send(named, http1));
       await attempt('namespace', () => send(all.get, https1));
       await attempt('require', () => send(required, http1));
       await attempt('require https', () => send(ofHttps, https1));
       await attempt('dynamic import', () => send(dynamic.get, https1));
       await attempt('getBuiltinModule', () => send(process.getBuiltinModule('https').get, https1));
       await attempt('new ClientRequest', () => send((...args) => new http.ClientRequest(...args), http1));`,
      ['default import', 'named import', 'named request', 'namespace', 'require', 'require https'].concat([
        'dynamic import',
        'getBuiltinModule',
        'new ClientRequest',
      ]),
    ));

  test("agents of the program's own, no agent, and sockets that it makes for a request", () =>
    expectAll(
      `import http from 'node:http';
       import https from 'node:https';
       import net from 'node:net';
       import tls from 'node:tls';
       const send = (module, url, options = {}) =>
         new Promise((resolve, reject) => module.get(url, options, resolve).on('error', reject)).then(read);
       class Later extends https.Agent {
         createConnection(options, created) {
           setImmediate(() => created(null, super.createConnection(options)));
         }
       }
       class Own extends http.Agent {
         addRequest(request, options) {
           request.onSocket(net.connect({ host: options.host, port: options.port }));
         }
       }
       await attempt('agent false', () => send(https, https1, { agent: false }));
       await attempt('https.Agent', () => send(https, https1, { agent: new https.Agent({ keepAlive: true }) }));
       await attempt('subclass that dials later', () => send(https, https1, { agent: new Later() }));
       await attempt('subclass with addRequest', () => send(http, http1, { agent: new Own() }));
       await attempt('object with addRequest', () => send(http, http1, { agent: {
         addRequest: (request, { host, port }) => setImmediate(() => request.onSocket(net.connect({ host, port }))),
       } }));
       await attempt('createConnection', () => send(http, http1, { createConnection: (options) => net.connect(options) }));
       await attempt('createConnection of tls', () => send(https, https1, {
         createConnection: (options) => tls.connect({ ...options, servername: 'origin.test' }),
       }));
       await attempt('createConnection with a callback', () => send(http, http1, {
         createConnection: (options, created) => {
           setTimeout(() => created(null, net.connect({ host: options.host, port: options.port })), 1);
         },
       }));
       const agent = new http.Agent({ maxSockets: 1 });
       await attempt('queue', async () => {
         const all = await Promise.all([1, 2, 3].map(() => send(http, http1, { agent })));
         return [...new Set(all)].join();
       });`,
      ['agent false', 'https.Agent', 'subclass that dials later', 'subclass with addRequest'].concat(
        ['object with addRequest', 'createConnection', 'createConnection of tls'],
        ['createConnection with a callback', 'queue'],
      ),
    ));

  test('fetch, and Agent, Pool, Client and the global dispatcher of every undici', () => {
    const versions = major >= 22 ? ['undici6', 'undici7', 'undici8'] : ['undici6', 'undici7'];
    const names = ['Agent', 'Pool', 'Client', 'default', 'RetryAgent', 'setGlobalDispatcher'];
    return expectAll(
      `await attempt('fetch', async () => (await fetch(http1)).text());
       await attempt('fetch https', async () => (await fetch(https1)).text());
       for (const version of ${JSON.stringify(versions)}) {
         const undici = await import(version);
         const get = { path: '/', method: 'GET' };
         const body = async (response) => (await response).body.text();
         await attempt(version + ' Agent', () => body(undici.request(https1, { dispatcher: new undici.Agent() })));
         await attempt(version + ' Pool', () => body(new undici.Pool(https1.slice(0, -1)).request(get)));
         await attempt(version + ' Client', () => body(new undici.Client(http1.slice(0, -1)).request(get)));
         await attempt(version + ' default', () => body(undici.request(http1)));
         await attempt(version + ' RetryAgent', () =>
           body(undici.request(http1, { dispatcher: new undici.RetryAgent(new undici.Agent()) })));
         undici.setGlobalDispatcher(new undici.Agent({ connections: 1 }));
         await attempt(version + ' setGlobalDispatcher', async () => (await fetch(https1)).text());
       }
       process.exit();`,
      ['fetch', 'fetch https', ...versions.flatMap((version) => names.map((name) => `${version} ${name}`))],
    );
  });

  test('a request of undici to an address, whatever name its Host header has', async () => {
    const before = direct();
    const versions = major >= 22 ? ['undici6', 'undici7', 'undici8'] : ['undici6', 'undici7'];
    const ended = await run(
      network,
      `const url = 'http://127.0.0.1:' + HTTP, headers = { host: 'elsewhere.test' };
       await attempt('fetch', async () => (await fetch(url, { headers })).text());
       for (const version of ${JSON.stringify(versions)}) {
         const { Agent, request } = await import(version);
         const dispatcher = new Agent();
         await attempt(version, async () => (await request(url, { headers, dispatcher })).body.text());
       }
       process.exit();`,
    );
    const names = ['fetch', ...versions];
    expect(results(ended)).toEqual(Object.fromEntries(names.map((name) => [name, 'hello'])));
    expect(direct()).toBe(before);
    const hosts = network.proxy.log.splice(0).map(({ host }) => host);
    expect(hosts).toEqual(names.map(() => '127.0.0.1'));
  });

  test('WebSocket and EventSource, where Node has them', async () => {
    const source = `
      const events = (source, name) => new Promise((resolve, reject) => {
        source['on' + name] = () => resolve('hello');
        source.onerror = (event) => resolve(event.type);
      });
      if (typeof WebSocket === 'function') await attempt('WebSocket', async () => {
        const socket = new WebSocket(http1.replace('http', 'ws'));
        return events(socket, 'open');
      });
      if (typeof EventSource === 'function') await attempt('EventSource', async () => {
        const source = new EventSource(http1);
        return events(source, 'open').finally(() => source.close());
      });
      console.log('end: hello');`;
    const before = direct();
    const flags = major >= 22 ? ['--experimental-eventsource'] : [];
    const ended = await run(network, source, {}, ['--require', REGISTER, ...flags]);
    // The site answers neither, so that both fail; what counts is that the proxy got both requests.
    const expected = major >= 22 ? ['WebSocket', 'EventSource', 'end'] : ['end'];
    expect(Object.keys(results(ended))).toEqual(expected);
    expect(network.proxy.log).toHaveLength(expected.length - 1);
    expect(direct()).toBe(before);
  });
});

test.each(['', 'tcp'])(
  'a request of undici fails if the tunnel closed before the parser of undici was compiled, with SOCKSIFY_STRICT=%s',
  async (SOCKSIFY_STRICT) => {
    const granted = { send: '05000001000000000000' };
    const server = await startScript([{ read: 3 }, { send: '0500' }, { read: 18 }, granted, { close: true }]);
    const source = `
      import { subscribe } from 'node:diagnostics_channel';
      const opened = new Promise((resolve) => subscribe('socksify:tunnel:end', resolve));
      const { compile } = WebAssembly;
      WebAssembly.compile = async (...given) => {
        await opened;
        while (process.getActiveResourcesInfo().includes('TCPSocketWrap')) await new Promise(setImmediate);
        return compile(...given);
      };
      const { fetch: fetch6 } = await import('undici6');
      await Promise.all([fetch, fetch6].map((send, i) => attempt('fetch ' + i, () => send('http://origin.test/'))));`;
    const ended = await run(network, source, { SOCKSIFY_STRICT, SOCKS_PROXY: server.url('socks5') });
    expect(results(ended)).toEqual({ 'fetch 0': 'UND_ERR_SOCKET', 'fetch 1': 'UND_ERR_SOCKET' });
    await server.close();
  },
);

test('the ordinary level keeps no request for as long as its idle connection', async () => {
  const ended = await run(
    network,
    `import http from 'node:http';
     import net from 'node:net';
     import { once } from 'node:events';
     class Unconnected extends http.Agent {
       createConnection({ host, port }) {
         const socket = new net.Socket();
         process.nextTick(() => socket.connect(port, host));
         return socket;
       }
     }
     const agents = [http.globalAgent, new Unconnected({ keepAlive: true })];
     const send = async (agent) => {
       const request = http.get(http1, { agent }, (response) => response.resume());
       await once(request, 'close');
       return new WeakRef(request);
     };
     const sent = await Promise.all(agents.flatMap((agent) => [send(agent), send(agent)]));
     for (let i = 0; i < 100 && sent.some((request) => request.deref()); i++) {
       await new Promise((resolve) => setTimeout(resolve, 10));
       gc();
     }
     await attempt('requests', () => sent.map((request) => Number(Boolean(request.deref()))).join());
     await attempt('connections', () => agents.flatMap((agent) => Object.values(agent.freeSockets).flat()).length);
     process.exit();`,
    {},
    ['--require', REGISTER, '--expose-gc'],
  );
  expect(results(ended)).toEqual({ requests: '0,0,0,0', connections: '4' });
});

describe('the ordinary level leaves alone', () => {
  test('a socket of the program itself, also in the callbacks of a request', async () => {
    const before = direct();
    const ended = await run(
      network,
      `import { AsyncResource } from 'node:async_hooks';
       import http from 'node:http';
       import net from 'node:net';
       const dial = () => new Promise((resolve, reject) => {
         const socket = net.connect(Number(HTTP), '127.0.0.1', () => resolve('open') || socket.destroy());
         socket.on('error', reject);
       });
       await attempt('net', dial);
       await attempt('net in a response', () => new Promise((resolve, reject) => {
         http.get(http1, (response) => {
           dial().then(resolve, reject);
           response.resume();
         });
       }));
       await attempt('net at the end of a response', () => new Promise((resolve, reject) => {
         http.get(http1, (response) => response.resume().on('end', () => dial().then(resolve, reject)));
       }));
       await attempt('net after a request that failed', () => new Promise((resolve, reject) => {
         const send = () => Promise.reject(new Error('refused'));
         const agent = { addRequest: (request) => send().catch((error) => request.onSocket(null, error)) };
         http.get(http1, { agent }).on('error', () => dial().then(resolve, reject));
       }));
       await attempt('net right after a request', async () => {
         const request = http.get(http1, (response) => response.resume());
         const closed = new Promise((resolve) => request.on('close', resolve));
         const result = await dial();
         await closed;
         return result;
       });
       await attempt('net right after fetch', async () => {
         const response = fetch(http1);
         const result = await dial();
         await (await response).text();
         return result;
       });
       const outside = new AsyncResource('outside');
       await attempt('net after a request that got its socket in another context', () => new Promise((resolve, reject) => {
         const agent = {
           addRequest(request, { host, port }) {
             new Promise((closed) => request.on('close', closed)).then(dial).then(resolve, reject);
             const socket = new net.Socket();
             outside.runInAsyncScope(() => request.onSocket(socket));
             socket.connect(port, host);
           },
         };
         http.get(http1, { agent }, (response) => response.resume()).on('error', reject);
       }));`,
    );
    const elsewhere = 'net after a request that got its socket in another context';
    const failed = 'net after a request that failed';
    const names = ['net', 'net in a response', 'net at the end of a response', failed];
    names.push('net right after a request', 'net right after fetch', elsewhere);
    expect(results(ended)).toEqual(Object.fromEntries(names.map((name) => [name, 'open'])));
    expect(direct() - before).toBe(names.length);
    expect(network.proxy.log.length).toBeGreaterThan(0);
  });
});

describe('the ordinary level refuses', () => {
  test('a direct connection that the program made before and gives to a request', async () => {
    const ended = await run(
      network,
      `import http from 'node:http';
       import net from 'node:net';
       import tls from 'node:tls';
       import { once } from 'node:events';
       import { Client } from 'undici7';
       const open = async () => {
         const socket = net.connect(Number(HTTP), '127.0.0.1');
         await once(socket, 'connect');
         return socket;
       };
       const send = (options) => new Promise((resolve, reject) => http.get(http1, options, resolve).on('error', reject)).then(read);
       const early = await open();
       await attempt('http', () => send({ createConnection: () => early }));
       const late = await open();
       await attempt('undici', async () => {
         const client = new Client(http1, { connect: (options, callback) => callback(null, late) });
         return (await client.request({ path: '/', method: 'GET' })).body.text();
       });`,
    );
    expect(results(ended)).toEqual({ http: 'ERR_SOCKS_BYPASS', undici: 'ERR_SOCKS_BYPASS' });
  });

  test('no request to the loopback, but the error of the proxy says what to list', async () => {
    const ended = await run(
      network,
      `import http from 'node:http';
       await attempt('loopback', () => new Promise((_, reject) => http.get('http://127.0.0.2:1/').on('error', (e) => {
         reject(new Error(e.code + ' ' + e.hint));
       })));`,
    );
    expect(ended.stdout.trim()).toBe(
      'loopback: ERR_SOCKS_CONNECTION_REFUSED the proxy connects to the loopback of its own machine; to connect to that of this machine, list the loopback: NO_PROXY=localhost,127.0.0.1,::1',
    );
    network.proxy.log.length = 0;
  });

  test('no request to the loopback over a group, and the error says what was tried and who is to blame', async () => {
    const ended = await run(
      network,
      `import http from 'node:http';
       const error = await new Promise((resolve) => http.get('http://127.0.0.2:1/').on('error', resolve));
       console.log(error.errors.map(({ code, blame }) => code + ' ' + blame).join(', '));
       console.log(error.errors[1] === error, error.blame, Object.keys(error).includes('errors'));`,
      { SOCKS_PROXY: `socks5://127.0.0.1:1,${network.url}` },
    );
    expect(ended.stdout.trim().split('\n')).toEqual([
      'ERR_SOCKS_PROXY_UNREACHABLE proxy, ERR_SOCKS_CONNECTION_REFUSED destination',
      'true destination false',
    ]);
    network.proxy.log.length = 0;
  });

  test('what would be direct, unless NO_PROXY or SOCKSIFY_ALLOW lists it', async () => {
    const source = `await attempt('loopback', async () => (await fetch('http://127.0.0.1:' + HTTP)).text());
       await attempt('name', async () => (await fetch(http1)).text());`;
    for (const env of [{ NO_PROXY: '127.0.0.1' }, { SOCKSIFY_ALLOW: '127.0.0.0/8' }]) {
      const before = direct();
      expect(results(await run(network, source, env))).toEqual({ loopback: 'hello', name: 'hello' });
      expect(direct() - before).toBe(1);
    }
  });

  test("an address that the program's own lookup gives for a listed name", async () => {
    const ended = await run(
      network,
      `import http from 'node:http';
       const send = (lookup) => new Promise((resolve, reject) =>
         http.get('http://listed.test:' + HTTP, { lookup }, resolve).on('error', reject)).then(read);
       await attempt('one', () => send((host, options, callback) => callback(null, '127.0.0.1', 4)));
       await attempt('all', () => send((host, options, callback) =>
         options.all ? callback(null, [{ address: '127.0.0.1', family: 4 }]) : callback(null, '127.0.0.1', 4)));`,
      { NO_PROXY: 'listed.test' },
    );
    expect(results(ended)).toEqual({ one: 'ERR_SOCKS_BYPASS', all: 'ERR_SOCKS_BYPASS' });
  });

  test('an http request to a Unix socket that is not listed', async () => {
    const source = `import http from 'node:http';
      await attempt('unix', () => new Promise((resolve, reject) =>
        http.get({ socketPath: '/tmp/socksify-none.sock' }, resolve).on('error', reject)));`;
    expect(results(await run(network, source))).toEqual({ unix: 'ERR_SOCKS_BYPASS' });
    const env = { SOCKSIFY_ALLOW: '/tmp/' };
    expect(results(await run(network, source, env))).toEqual({ unix: 'ENOENT' });
    const outside = source.replace('/tmp/', '/tmp/../run/');
    expect(results(await run(network, outside, env))).toEqual({ unix: 'ERR_SOCKS_BYPASS' });
    const relative = `process.chdir('/tmp'); ${source.replace('/tmp/', './')}`;
    expect(results(await run(network, relative, env))).toEqual({ unix: 'ENOENT' });
  });
});
