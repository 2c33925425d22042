// One request, as a user of a package makes it: `node peers.js PACKAGE SITUATION PROXY URL`. Prints the answer, or the
// code of the error. The test sees from outside which path the request took.

import { Resolver } from 'node:dns/promises';
import { once } from 'node:events';
import http from 'node:http';
import https from 'node:https';
import { text } from 'node:stream/consumers';

const [name, situation, proxy, url] = process.argv.slice(2);

/** What each package has: an agent for `http`, a dispatcher for `fetch`, and the `fetch` of the undici beside it. */
const PACKAGES = {
  async socksify() {
    const { SocksAgent } = await import('@socksify/agent');
    const { SocksDispatcher } = await import('@socksify/undici');
    return { agent: new SocksAgent(proxy), dispatcher: new SocksDispatcher(proxy) };
  },
  async 'socks-proxy-agent'() {
    const { SocksProxyAgent } = await import('socks-proxy-agent');
    return { agent: new SocksProxyAgent(proxy) };
  },
  async 'fetch-socks'() {
    const { socksDispatcher } = await import('fetch-socks');
    const { fetch: own } = await import('undici8');
    const { protocol, hostname: host, port } = new URL(proxy);
    const type = protocol === 'socks4a:' ? 4 : 5;
    return { dispatcher: socksDispatcher({ type, host, port: Number(port) }), own };
  },
  undici7: () => fromUndici('undici7'),
  undici8: () => fromUndici('undici8'),
  none: async () => ({}),
};

async function fromUndici(release) {
  const { fetch: own, Socks5ProxyAgent } = await import(release);
  return { dispatcher: new Socks5ProxyAgent(proxy), own };
}

function get(options) {
  const client = url.startsWith('https:') ? https : http;
  return new Promise((resolve, reject) => {
    client.get(url, options, (response) => text(response).then(resolve, reject)).on('error', reject);
  });
}

const SITUATIONS = {
  /** Node's own fetch. */
  fetch: async ({ agent, dispatcher }) => (await fetch(url, dispatcher ? { dispatcher } : { agent })).text(),
  fetchWithAgent: async ({ agent }) => (await fetch(url, { agent })).text(),
  http: ({ agent, dispatcher }) => get({ agent: agent ?? dispatcher }),
  async ws({ agent, dispatcher }) {
    const { default: WebSocket } = await import('ws');
    const socket = new WebSocket(url, { agent: agent ?? dispatcher });
    await once(socket, 'open');
    return 'hello';
  },
  /** The request that the package is made for. */
  request: async ({ agent, dispatcher, own = fetch }, signal) =>
    agent && !dispatcher ? get({ agent, signal }) : (await own(url, { dispatcher, signal })).text(),
  async twice(halves) {
    await this.request(halves);
    return this.request(halves);
  },
  /** Aborts at a signal of the test, and then lives on, so that the end of the process does not close the connection. */
  async abort(halves) {
    const controller = new AbortController();
    process.once('SIGUSR2', () => controller.abort());
    setInterval(() => {}, 1000);
    await this.request(halves, controller.signal).catch(() => {});
    await new Promise(() => {});
  },
  /** How many values that name no SOCKS proxy are taken, of those that a mistake in a configuration makes. */
  async empty() {
    const { Socks5ProxyAgent } = await import(name);
    const agents = [];
    for (const value of [undefined, '', 'http://127.0.0.1:1']) {
      try {
        agents.push(new Socks5ProxyAgent(value));
      } catch {
        // What the test expects.
      }
    }
    return agents.length;
  },
  async emptyChain() {
    const { socksDispatcher } = await import('fetch-socks');
    const { fetch: own } = await import('undici8');
    return (await own(url, { dispatcher: socksDispatcher([]) })).text();
  },
  /** A question to the name server at `url`. */
  async resolve() {
    const resolver = new Resolver();
    resolver.setServers([url]);
    return resolver.resolve4('origin.test');
  },
};

let outcome;
try {
  outcome = { answer: await SITUATIONS[situation](await PACKAGES[name]()) };
} catch (error) {
  const { code = 'none', message } = error.cause ?? error;
  outcome = { code, message };
}
process.stdout.write(`${JSON.stringify(outcome)}\n`, () => process.exit());
