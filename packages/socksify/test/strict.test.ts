// strict: what would bypass the proxy is refused. tcp: TCP of the program is tunnelled by name instead.

import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { CERTIFICATE_FILE, TLS } from '@socksify/support';
import { startServer } from '@socksify/server';
import { startNetwork } from './network.ts';
import type { Network } from './network.ts';
import { results, run } from './run-program.ts';

let network: Network;
beforeAll(async () => {
  network = await startNetwork();
});
afterAll(() => network.close());
afterEach(() => {
  network.proxy.log.length = 0;
});

const BYPASS = 'ERR_SOCKS_BYPASS';

/** Functions that connect by TCP, TLS and HTTP/2. Each gives the body of the site's answer. */
const TCP = `
  import net from 'node:net';
  import tls from 'node:tls';
  import http2 from 'node:http2';
  import { once } from 'node:events';
  const to = { host: 'origin.test', port: Number(HTTP) }, secure = { host: 'origin.test', port: Number(HTTPS) };
  await attempt('net.connect, write and end before connect', () => read(net.connect(to).end(HEAD)));
  await attempt('net.connect with port and host', () => read(net.connect(HTTP, 'origin.test').end(HEAD)));
  await attempt('net.createConnection', () => read(net.createConnection(to).end(HEAD)));
  await attempt('new Socket', () => read(new net.Socket().connect(to).end(HEAD)));
  await attempt('callback', () => new Promise((resolve, reject) => {
    const socket = net.connect(to, () => resolve(read(socket.end(HEAD)))).on('error', reject);
  }));
  await attempt('half-open', async () => {
    const socket = net.connect({ ...to, allowHalfOpen: true });
    const answer = read(socket.end(HEAD));
    return answer;
  });
  await attempt('connect again', async () => {
    const socket = net.connect(to);
    await once(socket, 'connect');
    socket.destroy();
    await once(socket, 'close');
    return read(socket.connect(to).end(HEAD));
  });
  await attempt('onread', async () => {
    let all = '';
    const onread = { buffer: Buffer.alloc(8), callback: (size, bytes) => Boolean((all += bytes.toString('latin1', 0, size))) };
    const socket = net.connect({ ...to, onread });
    socket.write(HEAD);
    await once(socket, 'close');
    return all.split('\\r\\n').at(-1);
  });
  await attempt('paused', async () => {
    const socket = net.connect(to).pause();
    socket.write(HEAD);
    await once(socket, 'connect');
    return read(socket.resume());
  });
  await attempt('host as an object', () => read(net.connect({ ...to, host: { toString: () => 'origin.test' } }).end(HEAD)));
  await attempt('tls.connect', () => read(tls.connect(secure).end(HEAD)));
  await attempt('tls.connect with port and host', () => read(tls.connect(HTTPS, 'origin.test').end(HEAD)));
  await attempt('tls over a connecting socket', () =>
    read(tls.connect({ socket: net.connect(secure), servername: 'origin.test' }).end(HEAD)));
  await attempt('tls over a connected socket', async () => {
    const socket = net.connect(secure);
    await once(socket, 'connect');
    return read(tls.connect({ socket, servername: 'origin.test' }).end(HEAD));
  });
  await attempt('tls of a new TLSSocket', async () => {
    const socket = new tls.TLSSocket();
    socket.connect(secure, socket._start);
    return read(socket.end(HEAD));
  });
  await attempt('http2', () => new Promise((resolve, reject) => {
    const session = http2.connect('https://origin.test:' + H2).on('error', reject);
    const request = session.request({ ':path': '/' }).on('error', () => {});
    read(request.end()).then(resolve, () => {}).finally(() => session.destroy());
  }));
`;
const TCP_NAMES = [...TCP.matchAll(/attempt\('([^']+)'/g)].map(([, name = '']) => name);

/** Calls that bypass the proxy by DNS and UDP, and below the modules. No name in them exists. */
const OTHERS = `
  import dns, { lookup as named, promises } from 'node:dns';
  import dgram from 'node:dgram';
  import net from 'node:net';
  import util from 'node:util';
  const callback = (run) => new Promise((resolve, reject) => run((error, ...values) => error ? reject(error) : resolve(values)));
  await attempt('dns.lookup', () => callback((done) => dns.lookup('leak.test', done)));
  await attempt('dns.lookup, named import', () => callback((done) => named('leak.test', {}, done)));
  await attempt('dns.lookup, promisified', () => util.promisify(dns.lookup)('leak.test'));
  await attempt('dns.promises.lookup', () => promises.lookup('leak.test'));
  for (const name of ['resolve', 'resolve4', 'resolve6', 'resolveTxt', 'resolveMx', 'resolveAny', 'reverse']) {
    const host = name === 'reverse' ? '192.0.2.1' : 'leak.test';
    await attempt('dns.' + name, () => callback((done) => dns[name](host, done)));
    await attempt('dns.promises.' + name, () => promises[name](host));
  }
  await attempt('dns.lookupService', () => callback((done) => dns.lookupService('192.0.2.1', 80, done)));
  await attempt('dns.Resolver', () => callback((done) => new dns.Resolver().resolve4('leak.test', done)));
  await attempt('dns.promises.Resolver', () => new promises.Resolver().resolve4('leak.test'));
  const ownServer = new promises.Resolver();
  ownServer.setServers(['192.0.2.53']);
  await attempt('a name server of its own', () => ownServer.resolve4('leak.test'));
  await attempt('udp send', () => callback((done) => dgram.createSocket('udp4').send('x', 53, '192.0.2.1', done)));
  await attempt('udp send of a part', () => callback((done) => dgram.createSocket('udp4').send(Buffer.from('xx'), 0, 1, 53, '192.0.2.1', done)));
  await attempt('udp send to a name', () => callback((done) => dgram.createSocket('udp4').send('x', 53, 'leak.test', done)));
  await attempt('udp connect', () => callback((done) => dgram.createSocket('udp4').connect(53, '192.0.2.1', done)));
  await attempt('udp send to no address', () => callback((done) => dgram.createSocket('udp4').send('x', 53, done)));
  await attempt('udp send to no address, IPv6', () => callback((done) => dgram.createSocket('udp6').send('x', 53, done)));
  await attempt('udp connect to no address', () => callback((done) => dgram.createSocket('udp4').connect(53, done)));
  await attempt('udp, without a callback', () => callback((done) => dgram.createSocket('udp4').on('error', done).connect(53, '192.0.2.1')));
  await attempt('udp multicast', async () => dgram.createSocket('udp4').addMembership('239.1.1.1'));
  await attempt('udp, native', async () => {
    const socket = dgram.createSocket('udp4');
    const state = Object.getOwnPropertySymbols(socket).find((symbol) => symbol.description === 'state symbol');
    socket[state].handle.connect('192.0.2.1', 53);
  });
  const { TCP, TCPConnectWrap } = process.binding('tcp_wrap');
  await attempt('process.binding', async () => new TCP(0).connect(new TCPConnectWrap(), '192.0.2.1', 80));
  await attempt('process.binding, IPv6', async () => new TCP(0).connect6(new TCPConnectWrap(), '2001:db8::1', 80));
  await attempt('the handle of a server', async () => {
    const handle = new (net._createServerHandle('127.0.0.1', 0, 4).constructor)(0);
    handle.connect(new TCPConnectWrap(), '192.0.2.1', 80);
  });
  await attempt('process.binding, Unix socket', async () => {
    const { Pipe, PipeConnectWrap } = process.binding('pipe_wrap');
    return new Pipe(0).connect(new PipeConnectWrap(), '/tmp/socksify-none.sock');
  });
  await attempt('cares_wrap', async () => {
    const { GetAddrInfoReqWrap, getaddrinfo } = process.binding('cares_wrap');
    getaddrinfo(new GetAddrInfoReqWrap(), 'leak.test', 4, 0, 0);
  });
  await attempt('the channel of a resolver', async () => new dns.Resolver()._handle.queryA({}, 'leak.test'));
  await attempt('a server at a name', () => callback((done) => net.createServer().on('error', done).listen(0, 'leak.test', done)));
  await attempt('a path alone', () => callback((done) => new net.Socket().on('error', done).connect('/tmp/socksify-none.sock')));
  await attempt('a Unix socket', () => callback((done) => net.connect('/tmp/socksify-none.sock').on('error', done)));
  process.exit();
`;
const named = (names: readonly string[], value: string): Record<string, string> =>
  Object.fromEntries(names.map((name) => [name, value]));

describe.each(['1', 'tcp'])('SOCKSIFY_STRICT=%s', (strict) => {
  test('refuses DNS, UDP, native handles and Unix sockets', async () => {
    const ended = await run(network, OTHERS, { SOCKSIFY_STRICT: strict });
    const { stderr, ...found } = results(ended);
    const lookups = Object.keys(found).filter(
      (name) => name.includes('lookup') || name === 'a server at a name',
    );
    // Where TCP is tunnelled, a look-up is answered without a question.
    for (const name of strict === 'tcp' ? lookups : []) if (found[name] !== BYPASS) found[name] = 'answered';
    expect(new Set(Object.values(found))).toEqual(
      new Set(strict === 'tcp' ? ['answered', BYPASS] : [BYPASS]),
    );
    expect(Object.keys(found)).toHaveLength(41);
    expect(stderr).toBeUndefined();
  });

  test('leaves http, fetch and undici as they are without it', async () => {
    const before = network.direct();
    const ended = await run(
      network,
      `import https from 'node:https';
       import { Pool } from 'undici7';
       const get = { path: '/', method: 'GET' };
       await attempt('https', () => new Promise((resolve, reject) => https.get(https1, resolve).on('error', reject)).then(read));
       await attempt('fetch', async () => (await fetch(http1)).text());
       await attempt('undici', async () => (await new Pool(https1.slice(0, -1)).request(get)).body.text());
       process.exit();`,
      { SOCKSIFY_STRICT: strict },
    );
    expect(results(ended)).toEqual({ https: 'hello', fetch: 'hello', undici: 'hello' });
    expect(network.direct()).toBe(before);
  });

  test('leaves servers, what they accept, and look-ups of the loopback alone', async () => {
    const ended = await run(
      network,
      `import net from 'node:net';
       import dns from 'node:dns';
       import { once } from 'node:events';
       const server = net.createServer((socket) => socket.end('accepted'));
       server.listen(0, 'localhost');
       await once(server, 'listening');
       const look = async (name) => (await dns.promises.lookup(name)).address;
       await attempt('lookup', () => look('localhost'));
       await attempt('lookup of a subdomain', () => look('app.localhost'));
       await attempt('lookup of a number', () => look('127.0.0.2.'));
       const all = async (options) => (await dns.promises.lookup('localhost', { all: true, ...options })).map(({ address }) => address).join();
       await attempt('lookup of all', () => all());
       await attempt('lookup of IPv4', () => all({ family: 'IPv4' }));
       await attempt('lookup of IPv6', () => all({ family: 6 }));
       await attempt('lookup with a callback', () => new Promise((resolve) => dns.lookup('localhost', 6, (...found) => resolve(found.join()))));
       await attempt('server', () => read(net.connect(server.address().port, server.address().address)));
       server.close();`,
      { SOCKSIFY_STRICT: strict, NO_PROXY: '127.0.0.1,::1' },
    );
    expect(results(ended)).toEqual({
      lookup: '127.0.0.1',
      'lookup of a subdomain': '127.0.0.1',
      'lookup of a number': '127.0.0.2',
      'lookup of all': '127.0.0.1,::1',
      'lookup of IPv4': '127.0.0.1',
      'lookup of IPv6': '::1',
      'lookup with a callback': ',::1,6',
      server: 'accepted',
    });
  });

  test('gives SOCKS4 no placeholder for a name, and says which proxies look names up', async () => {
    const source = `
      import dns from 'node:dns';
      import net from 'node:net';
      await dns.promises.lookup('origin.test').catch(() => {});
      await fetch('http://origin.test:4/').catch(({ cause }) => console.log(cause.message));
      ${strict === 'tcp' ? `net.connect(5, 'origin.test').on('error', ({ message }) => console.log(message));` : ''}`;
    const SOCKS_PROXY = 'socks4://127.0.0.1:1';
    const { stdout } = await run(network, source, { SOCKSIFY_STRICT: strict, SOCKS_PROXY });
    const message = (port: number): string =>
      `origin.test:${port} through socks4://127.0.0.1:1: the destination could not be looked up locally (ERR_SOCKS_BYPASS; SOCKS4 needs an A record: use socks4a://); strict refuses look-ups on this machine: write socks4a:// or socks5://, whose proxies look names up`;
    expect(stdout.trim().split('\n')).toEqual(strict === 'tcp' ? [message(4), message(5)] : [message(4)]);
  });

  test('allows what is listed, UDP to an address too, and no address that a lookup of its own gives', async () => {
    const before = network.direct();
    const ended = await run(
      network,
      `import net from 'node:net';
       import dns from 'node:dns';
       import dgram from 'node:dgram';
       await attempt('net', () => read(net.connect(HTTP, '127.0.0.1').end(HEAD)));
       await attempt('localhost', () => read(net.connect(HTTP, 'localhost').end(HEAD)));
       await attempt('a name below localhost', () => read(net.connect(HTTP, 'app.localhost').end(HEAD)));
       await attempt('udp', () => new Promise((resolve, reject) => {
         const socket = dgram.createSocket('udp4');
         socket.send('x', 9, '127.0.0.1', (error) => (socket.close(), error ? reject(error) : resolve('sent')));
       }));
       await attempt('udp, connected', () => new Promise((resolve, reject) => {
         const socket = dgram.createSocket('udp4');
         socket.connect(9, '127.0.0.1', () => {
           socket.send('x', (error) => (socket.close(), error ? reject(error) : resolve('sent')));
         });
       }));
       const dial = (...given) => read(new net.Socket().connect(...given).end(HEAD));
       await attempt('port and host', () => dial(HTTP, '127.0.0.1'));
       await attempt('port as a text, without a host', () => dial(String(HTTP)));
       await attempt('options without a host', () => dial({ port: HTTP }));
       await attempt('host as a list', () => dial({ port: HTTP, host: ['127.0.0.1'] }));
       await attempt('own lookup', () => read(net.connect({
         port: 9, host: 'listed.test', lookup: (name, options, callback) => callback(null, '192.0.2.1', 4),
       })));
       await attempt('own lookup of another name', () => read(net.connect({
         port: 9, host: 'listed.test',
         lookup: (name, options, callback) => dns.lookup('leak.test', { ...options, family: 6 }, callback),
       })));
       const changing = { port: HTTP, get host() { return this.read ? '192.0.2.1' : ((this.read = true), '127.0.0.1'); } };
       await attempt('options that change', () => read(new net.Socket().connect(changing).end(HEAD)));`,
      { SOCKSIFY_STRICT: strict, NO_PROXY: '127.0.0.1,localhost,listed.test' },
    );
    expect(results(ended)).toEqual({
      net: 'hello',
      localhost: 'hello',
      'a name below localhost': 'hello',
      udp: 'sent',
      'udp, connected': 'sent',
      'port and host': 'hello',
      'port as a text, without a host': 'hello',
      'options without a host': 'hello',
      'host as a list': 'hello',
      'own lookup': BYPASS,
      'own lookup of another name': BYPASS,
      'options that change': 'hello',
    });
    expect(network.direct() - before).toBe(8);
  });

  test('connects where the options led when it read them, whatever they are and become', async () => {
    const before = network.direct();
    const ended = await run(
      network,
      `import net from 'node:net';
       const open = (options) => read(new net.Socket().connect(options).end(HEAD));
       const site = { host: '127.0.0.1', port: HTTP };
       const turns = (...values) => () => (values.length > 1 ? values.shift() : values[0]);
       const changing = (options, name, ...values) => Object.defineProperty({ ...options }, name, { get: turns(...values), enumerable: true });
       const array = Object.assign([], site);
       await attempt('an array', () => open(array));
       await attempt('a port', () => open(changing(site, 'port', undefined, HTTP)));
       await attempt('a host', () => open(changing(site, 'host', '192.0.2.7', '127.0.0.1')));
       await attempt('a path', () => open(changing(site, 'path', '/listed.sock', undefined)));
       await attempt('an address', () => open({ ...site, host: 'listed.test', lookup: (name, { all }, callback) => {
         const found = changing({ family: 4 }, 'address', '192.0.2.7', '127.0.0.1');
         if (all) callback(null, [found]);
         else callback(null, '192.0.2.8', 4);
       } }));
       process.exit();`,
      { SOCKSIFY_STRICT: strict, NO_PROXY: '192.0.2.7,listed.test', SOCKSIFY_ALLOW: '/listed.sock' },
    );
    expect(ended.stdout).toContain('an address');
    expect(network.direct()).toBe(before);
  });
});

describe('SOCKSIFY_STRICT=1', () => {
  test('refuses TCP, TLS and HTTP/2', async () => {
    const before = network.direct();
    const found = results(await run(network, TCP, { SOCKSIFY_STRICT: '1' }));
    expect(found).toEqual(named(TCP_NAMES, BYPASS));
    expect(network.direct()).toBe(before);
    expect(network.proxy.log).toEqual([]);
  });

  test('says where the connection would lead, and how to allow it', async () => {
    const source = `import net from 'node:net';
      net.connect(5432, 'db.test').on('error', ({ name, message }) => console.log(name + ': ' + message));`;
    expect((await run(network, source, { SOCKSIFY_STRICT: '1' })).stdout.trim()).toBe(
      "SocksError: db.test:5432: this would bypass the proxy (a TCP connection); list it: NO_PROXY=db.test, or allow: 'db.test'; or tunnel all of TCP: strict: 'tcp' (SOCKSIFY_STRICT=tcp)",
    );
  });
});

describe('SOCKSIFY_STRICT=tcp', () => {
  test('answers a look-up with an address that stands for the name', async () => {
    const source = `import dns from 'node:dns';
      import net from 'node:net';
      import { promisify } from 'node:util';
      await attempt('lookup', async () => {
        const { address, family } = await promisify(dns.lookup)('origin.test');
        return /^198\\.1[89]\\./.test(address) + ' ' + family;
      });
      await attempt('all', async () => (await dns.promises.lookup('origin.test', { all: true })).length);
      await attempt('IPv6 only', () => dns.promises.lookup('origin.test', 6));
      await attempt('connect', async () => {
        const { address } = await dns.promises.lookup('origin.test');
        return read(net.connect(HTTP, address).end(HEAD));
      });
      await attempt('its own lookup', () => read(net.connect({ port: HTTP, host: 'origin.test', lookup: dns.lookup }).end(HEAD)));
      await attempt('fetch', async () => {
        const { address } = await dns.promises.lookup('origin.test');
        return (await fetch('http://' + address + ':' + HTTP)).text();
      });`;
    expect(results(await run(network, source, { SOCKSIFY_STRICT: 'tcp' }))).toEqual({
      lookup: 'true 4',
      all: '1',
      'IPv6 only': BYPASS,
      connect: 'hello',
      'its own lookup': 'hello',
      fetch: 'hello',
    });
    expect(new Set(network.proxy.log.map(({ host }) => host))).toEqual(new Set(['origin.test']));
  });

  const answers = { ...named(TCP_NAMES, 'hello'), http2: 'h2' };

  test('tunnels TCP, TLS and HTTP/2 by name', async () => {
    const before = network.direct();
    expect(results(await run(network, TCP, { SOCKSIFY_STRICT: 'tcp' }))).toEqual(answers);
    expect(network.direct()).toBe(before);
    expect(new Set(network.proxy.log.map(({ host }) => host))).toEqual(new Set(['origin.test']));
  });

  test.each(['a proxy behind TLS', 'a chain', 'a chain that ends behind TLS', 'SOCKS4A'])(
    'tunnels them through %s too',
    async (kind) => {
      const names = { 'origin.test': '127.0.0.1' };
      const plain = await startServer({ names });
      const tls = await startServer({ names, tls: TLS });
      const behindTls = `{ version: 5, host: '127.0.0.1', port: ${new URL(tls.url('socks5s')).port}, tls: { ca } }`;
      const routes: Record<string, string> = {
        'a proxy behind TLS': behindTls,
        'a chain': `['${plain.url('socks5')}', '${network.url}']`,
        'a chain that ends behind TLS': `['${network.url}', ${behindTls}]`,
        SOCKS4A: `'${plain.url('socks4a')}'`,
      };
      const preload = `
        import { readFileSync } from 'node:fs';
        import { install } from ${JSON.stringify(new URL('../dist/index.js', import.meta.url))};
        const ca = readFileSync(${JSON.stringify(CERTIFICATE_FILE)});
        install({ proxy: ${routes[kind]}, strict: 'tcp' });`;
      const args = ['--import', `data:text/javascript,${encodeURIComponent(preload)}`];
      const found = results(await run(network, TCP, { SOCKS_PROXY: undefined }, args));
      await Promise.all([plain.close(), tls.close()]);
      expect(found).toEqual(answers);
      const requests = [...plain.log, ...tls.log, ...network.proxy.log].filter(
        ({ host }) => host === 'origin.test',
      );
      expect(requests.length).toBeGreaterThanOrEqual(TCP_NAMES.length);
    },
  );

  test('gives the program the errors, the timeouts and the aborts of its own sockets', async () => {
    const source = `
      import net from 'node:net';
      import tls from 'node:tls';
      import { once } from 'node:events';
      const to = { host: 'origin.test', port: Number(HTTP) };
      await attempt('refused', () => once(net.connect(1, 'origin.test'), 'connect'));
      await attempt('unknown', () => once(net.connect(1, 'unknown.test'), 'connect'));
      await attempt('aborted', () => {
        const abort = new AbortController();
        const socket = net.connect({ ...to, signal: abort.signal });
        queueMicrotask(() => abort.abort());
        return once(socket, 'connect');
      });
      await attempt('timeout', async () => {
        const socket = net.connect({ ...to, timeout: 20 });
        await once(socket, 'timeout');
        socket.destroy();
        return 'timeout';
      });
      await attempt('certificate', () => once(tls.connect({ ...to, port: Number(HTTPS), ca: [] }), 'secureConnect'));
      await attempt('session', async () => {
        const first = tls.connect({ ...to, port: Number(HTTPS) });
        const [session] = await once(first, 'session');
        first.destroy();
        const second = tls.connect({ ...to, port: Number(HTTPS), session });
        await once(second, 'secureConnect');
        const found = second.isSessionReused() + ' ' + second.authorized;
        second.destroy();
        return found;
      });
      await attempt('destroyed at once', async () => {
        const socket = net.connect(to);
        socket.destroy();
        await once(socket, 'close');
        return 'closed';
      });
      net.connect(to).unref();`;
    expect(results(await run(network, source, { SOCKSIFY_STRICT: 'tcp' }))).toEqual({
      refused: 'ERR_SOCKS_CONNECTION_REFUSED',
      unknown: 'ERR_SOCKS_HOST_UNREACHABLE',
      aborted: 'ABORT_ERR',
      timeout: 'timeout',
      certificate: 'DEPTH_ZERO_SELF_SIGNED_CERT',
      session: 'true true',
      'destroyed at once': 'closed',
    });
  });
});
