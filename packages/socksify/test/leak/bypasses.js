// Tries all connections, datagrams and look-ups that can bypass a proxy, at once, and prints how the one request through
// the proxy ended. Nothing answers outside, so the program ends after a while.

import childProcess from 'node:child_process';
import dgram from 'node:dgram';
import dns from 'node:dns';
import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import { register } from 'node:module';
import net from 'node:net';
import tls from 'node:tls';
import { Worker } from 'node:worker_threads';

const HOST = '192.0.2.80';
const quiet = (emitter) => emitter.on('error', () => {});
const attempts = [
  () => quiet(net.connect(80, HOST)),
  () => quiet(net.connect({ host: 'leak.test', port: 80 })),
  () => quiet(net.createConnection(81, HOST)),
  () => quiet(new net.Socket()).connect(82, HOST),
  // With an empty path, Node takes a port that is missing for port 0.
  () => quiet(net.connect({ path: '', host: HOST })),
  () =>
    quiet(
      net.connect({ host: 'allowed.test', port: 83, lookup: (name, options, done) => done(null, HOST, 4) }),
    ),
  () => quiet(tls.connect(84, HOST)),
  () => quiet(tls.connect({ socket: quiet(net.connect(85, HOST)) })),
  () => quiet(new tls.TLSSocket()).connect(86, HOST),
  () => quiet(http2.connect(`https://${HOST}:87`)),
  () => quiet(http2.connect(`http://${HOST}:88`)),
  () => quiet(http.get(`http://${HOST}:89`)),
  () => quiet(https.get('https://leak.test:90', { agent: false })),
  () => quiet(http.get(`http://${HOST}:91`, { createConnection: (options) => net.connect(options) })),
  () => fetch(`http://${HOST}:92`),
  () => dns.lookup('leak1.test', () => {}),
  () => dns.promises.lookup('leak2.test'),
  () => dns.resolve4('leak3.test', () => {}),
  () => dns.promises.resolveTxt('leak4.test'),
  () => dns.reverse(HOST, () => {}),
  () => dns.lookupService(HOST, 80, () => {}),
  () => new dns.Resolver().resolve('leak5.test', () => {}),
  () => {
    const resolver = new dns.promises.Resolver();
    resolver.setServers(['192.0.2.1']);
    return resolver.resolve4('leak6.test');
  },
  () => new dns.Resolver()._handle.queryA(new (process.binding('cares_wrap').QueryReqWrap)(), 'leak7.test'),
  () => quiet(dgram.createSocket('udp4')).send('x', 53, HOST),
  () => quiet(dgram.createSocket('udp4')).connect(53, HOST, () => {}),
  () => quiet(dgram.createSocket('udp4')).addMembership('239.1.1.1'),
  () => {
    const socket = quiet(
      dgram.createSocket({ type: 'udp4', lookup: (name, family, done) => done(null, HOST, 4) }),
    );
    socket.send('x', 54, 'allowed.test');
  },
  () => {
    const { TCP, TCPConnectWrap } = process.binding('tcp_wrap');
    new TCP(0).connect(new TCPConnectWrap(), HOST, 93);
  },
  () => {
    const { GetAddrInfoReqWrap, getaddrinfo } = process.binding('cares_wrap');
    getaddrinfo(new GetAddrInfoReqWrap(), 'leak8.test', 4, 0, 0);
  },
  // A server at a name, and workers and children without an environment.
  () => quiet(net.createServer()).listen(0, 'leak9.test'),
  () =>
    quiet(
      new Worker(`require('net').connect(95, '${HOST}').on('error', () => {})`, {
        eval: true,
        env: {},
        execArgv: [],
      }),
    ),
  () =>
    childProcess.execFile(
      process.execPath,
      ['-e', `require('net').connect(96, '${HOST}').on('error', () => {})`],
      { env: {} },
    ),
  // A program that takes the place of another one, without an environment. Node 20 cannot do this.
  () =>
    childProcess.execFile(process.execPath, [
      '-e',
      `if (process.execve) process.execve(process.execPath, ['node', '-e', "require('net').connect(97, '${HOST}').on('error', () => {})"], {})`,
    ]),
  // A worker of a class that was found on another worker.
  () => {
    const first = quiet(new Worker('', { eval: true }));
    const source = `require('net').connect(98, '${HOST}').on('error', () => {})`;
    return quiet(new first.constructor(source, { eval: true, env: {}, execArgv: ['--input-type=commonjs'] }));
  },
  // The thread in which the hooks of a module loader run.
  () => {
    const source = `import net from 'node:net'; net.connect(99, '${HOST}').on('error', () => {});`;
    register(`data:text/javascript,${encodeURIComponent(source)}`);
  },
  // A UDP socket that is bound to a name looks the name up.
  () => quiet(dgram.createSocket('udp4')).bind(0, 'leak10.test'),
  // Spellings of the loopback that only a name server knows.
  () => dns.lookup('leak11.localhost', () => {}),
  () => dns.promises.lookup('127.0.0.1.'),
  () => quiet(net.createServer()).listen(0, 'localhost.'),
  // The loopback itself, of which the system may know no address, or none of this family.
  () => dns.lookup('localhost', () => {}),
  () => dns.promises.lookup('LOCALHOST', { family: 6 }),
  () => quiet(dgram.createSocket('udp6')).bind(0, 'localhost'),
  () => quiet(net.connect(101, 'leak13.localhost')),
  () => {
    const { GetAddrInfoReqWrap, getaddrinfo } = process.binding('cares_wrap');
    getaddrinfo(new GetAddrInfoReqWrap(), 'localhost', 6, 0, 0);
  },
  // A diagnostic report waits for the names of the addresses to which sockets lead.
  () =>
    childProcess.execFile(process.execPath, [
      '-e',
      `require('net').connect(100, '${HOST}').on('error', () => {}); process.report.getReport();`,
    ]),
];
process.on('uncaughtException', () => {}).on('unhandledRejection', () => {});
for (const attempt of attempts) {
  try {
    Promise.resolve(attempt()).catch(() => {});
  } catch {
    // A refusal may be thrown.
  }
}
const proxied = fetch(`http://origin.test:${process.env.HTTP}/`).then(
  (response) => response.text(),
  (error) => error.cause?.code ?? error.message,
);
console.log(`attempts: ${attempts.length}`);
setTimeout(async () => {
  console.log(`proxied: ${process.env.SOCKSIFIED ? await proxied : '-'}`);
  // exit() would wait for look-ups that nobody answers.
  process.kill(process.pid, 'SIGKILL');
}, 2500);
