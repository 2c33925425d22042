// Every client that is measured, and the hand-written one that it is measured against. Each is made from its options
// and has `get(url)`, which resolves to the body of the answer, and `close()`. A URL with `https:` goes over TLS.

import http from 'node:http';
import https from 'node:https';
import tls from 'node:tls';
import { SocksAgent } from '@socksify/agent';
import { SocksClient } from '@socksify/core';
import { CERTIFICATE as ca } from '@socksify/support';
import { SocksDispatcher } from '@socksify/undici';
import { exchange } from './exchange.js';

const undici = (version) => import(`undici${version}`);

/** The clients of sockets, which send a request of their own over each. */
export const SOCKETS = {
  exchange: (proxy) => (port) =>
    new Promise((resolve) => exchange(proxy, port, (error, socket) => resolve(socket))),
  core(proxy) {
    const client = new SocksClient(`socks5://127.0.0.1:${proxy}`);
    return async (port) => (await client.connect({ host: '127.0.0.1', port })).socket;
  },
  async socks(proxy) {
    const { SocksClient: Peer } = await import('socks');
    return async (port) => {
      const { socket } = await Peer.createConnection({
        proxy: { host: '127.0.0.1', port: proxy, type: 5 },
        command: 'connect',
        destination: { host: '127.0.0.1', port },
      });
      return socket;
    };
  },
};

/** The clients on Node's http: agents. `options` are those of http.Agent. */
export const AGENTS = {
  plain: (proxy, options) => ({ http: new http.Agent(options), https: new https.Agent({ ...options, ca }) }),
  exchange(proxy, options) {
    const agents = { http: new http.Agent(options), https: new https.Agent({ ...options, ca }) };
    agents.http.createConnection = ({ port }, callback) => exchange(proxy, Number(port), callback);
    agents.https.createConnection = ({ host, port }, callback) =>
      exchange(proxy, Number(port), (error, socket) => callback(null, tls.connect({ socket, ca, host })));
    return agents;
  },
  agent(proxy, options) {
    const agent = new SocksAgent(`socks5://127.0.0.1:${proxy}`, { ...options, ca });
    return { http: agent, https: agent };
  },
  async 'socks-proxy-agent'(proxy, options) {
    const { SocksProxyAgent } = await import('socks-proxy-agent');
    const agent = new SocksProxyAgent(`socks5://127.0.0.1:${proxy}`, { ...options, ca });
    return { http: agent, https: agent };
  },
};

/** The dispatchers. `options` are those of undici's Agent. */
const DISPATCHERS = {
  plain: (proxy, options, { Agent }) => new Agent(options),
  exchange: (proxy, options, { Agent }) => {
    const connect = ({ hostname, port, protocol }, callback) =>
      exchange(proxy, Number(port), (error, socket) => {
        if (protocol !== 'https:') return callback(null, socket);
        const secure = tls.connect({ socket, ca, host: hostname, ALPNProtocols: ['http/1.1'] });
        return secure.once('secureConnect', () => callback(null, secure));
      });
    return new Agent({ ...options, connect });
  },
  dispatcher: (proxy, options, { Agent }) =>
    new SocksDispatcher(`socks5://127.0.0.1:${proxy}`, { ...options, Agent }),
  async 'fetch-socks'(proxy, options) {
    const { socksDispatcher } = await import('fetch-socks');
    return socksDispatcher({ type: 5, host: '127.0.0.1', port: proxy }, options);
  },
  // It warns once that it is experimental, and takes the TLS options of the destination under a name of its own.
  Socks5ProxyAgent: (proxy, { connect, ...options }, { Socks5ProxyAgent }) =>
    new Socks5ProxyAgent(`socks5://127.0.0.1:${proxy}`, { ...options, requestTls: connect }),
};

/** One of {@link AGENTS} as `{ get, close }`. */
export async function byAgent(name, proxy, options = {}) {
  const agents = await AGENTS[name](proxy, options);
  const get = (url) =>
    new Promise((resolve, reject) => {
      const secure = url.startsWith('https:');
      const agent = secure ? agents.https : agents.http;
      (secure ? https : http)
        .get(url, { agent }, (response) => collect(response, resolve))
        .on('error', reject);
    });
  return { get, agents, close: () => [agents.http, agents.https].forEach((agent) => agent.destroy()) };
}

/** One of the dispatchers as `{ get, close }`, on undici of this version. */
export async function byDispatcher(version, name, proxy, options = {}) {
  const library = await undici(version);
  const dispatcher = await DISPATCHERS[name](proxy, { connect: { ca }, ...options }, library);
  const get = async (url, more) => {
    const { body } = await library.request(url, { dispatcher, ...more });
    return body.text();
  };
  return { get, dispatcher, request: library.request, close: () => dispatcher.destroy() };
}

function collect(response, resolve) {
  let text = '';
  response.setEncoding('latin1');
  response.on('data', (data) => (text += data)).on('end', () => resolve(text));
}
