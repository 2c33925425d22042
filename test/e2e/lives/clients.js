// An agent or a dispatcher with random options, and the function that sends a request through it.

import http from 'node:http';
import https from 'node:https';
import { SocksAgent } from '@socksify/agent';
import { CERTIFICATE } from '@socksify/support';
import { SocksDispatcher } from '@socksify/undici';

/** undici 8 needs Node 22.19. */
const VERSIONS = Number(process.versions.node.split('.')[0]) < 22 ? [6, 7] : [6, 7, 8];
const UNDICIS = await Promise.all(VERSIONS.map((version) => import(`undici${version}`)));

/**
 * A client. `send` returns the whole answer, or rejects with the error of the client's API; it stops reading when `enough`
 * returns true. `end` closes the client.
 */
export function createClient(selector, lookup, random) {
  const tunnel = {
    // A short time limit can end any request, a long one ends none, however slow the machine is.
    connectTimeout: random.chance(0.15) ? 150 : 60_000,
    lookup,
    ...(random.chance(0.3) && { standby: random.integer(1, 3) }),
    ...(random.chance(0.3) && { pipeline: true }),
  };
  return random.chance(0.5)
    ? createAgent(selector, tunnel, random)
    : createDispatcher(selector, tunnel, random);
}

function createAgent(selector, tunnel, random) {
  const options = {
    keepAlive: random.chance(0.7),
    ...(random.chance(0.5) && { maxSockets: random.integer(1, 4) }),
    ...(random.chance(0.3) && { maxFreeSockets: random.integer(0, 3) }),
    ...(random.chance(0.3) && { maxTotalSockets: random.integer(2, 8) }),
    ...(random.chance(0.3) && { scheduling: 'fifo' }),
  };
  const agent = new SocksAgent(selector, { ...tunnel, ...options, ca: CERTIFICATE });
  return {
    name: `SocksAgent ${JSON.stringify({ ...tunnel, ...options })}`,
    isImpatient: tunnel.connectTimeout < 1000,
    // Node's agent works after destroy().
    endsForGood: false,
    send: (url, how) => sendByHttp(agent, url, how),
    end: () => Promise.resolve(agent.destroy()),
  };
}

/** Settles with the last event of the request, and rejects when an event comes twice. */
function sendByHttp(agent, url, { method, body, signal, destroyAfter, enough }) {
  const { request } = url.startsWith('https:') ? https : http;
  return new Promise((resolve, reject) => {
    const events = { response: 0, error: 0, close: 0 };
    let outcome;
    const req = request(url, { agent, method, ...(signal && { signal }) });
    const timer =
      destroyAfter === undefined
        ? undefined
        : setTimeout(() => req.destroy(new Error('destroyed')), destroyAfter);
    const fail = (error) => (outcome ??= () => reject(error));
    req.on('response', (response) => {
      events.response++;
      const chunks = [];
      response.on('data', (chunk) => {
        chunks.push(chunk);
        if (enough?.()) response.destroy();
      });
      response.on('error', fail);
      response.on('close', () => {
        const head = { status: response.statusCode, headers: response.headers, body: Buffer.concat(chunks) };
        if (response.complete) outcome ??= () => resolve(head);
        else fail(Object.assign(new Error('incomplete'), { code: 'INCOMPLETE' }));
      });
    });
    req.on('error', (error) => {
      events.error++;
      fail(error);
    });
    req.on('close', () => {
      events.close++;
      clearTimeout(timer);
      // An event that comes twice comes within the next turns.
      setImmediate(() =>
        setImmediate(() => {
          if (Object.values(events).some((times) => times > 1)) {
            reject(Object.assign(new Error(`events ${JSON.stringify(events)}`), { code: 'TWICE' }));
          } else if (outcome) outcome();
          else reject(Object.assign(new Error('closed without an outcome'), { code: 'NO OUTCOME' }));
        }),
      );
    });
    req.end(body);
  });
}

function createDispatcher(selector, tunnel, random) {
  const undici = random.oneOf([undefined, ...UNDICIS]);
  const options = {
    ...(random.chance(0.4) && { connections: random.integer(1, 4) }),
    ...(random.chance(0.3) && { pipelining: random.integer(0, 1) }),
    ...(random.chance(0.3) && { keepAliveTimeout: random.integer(1, 50) }),
    ...(random.chance(0.2) && { allowH2: random.chance(0.5) }),
  };
  const dispatcher = new SocksDispatcher(selector, {
    ...tunnel,
    ...options,
    connect: { ca: CERTIFICATE },
    ...(undici && { Agent: undici.Agent }),
  });
  const byFetch = !undici || random.chance(0.5);
  const { fetch } = undici ?? globalThis;
  const inside = undici ? VERSIONS[UNDICIS.indexOf(undici)] : 'in Node';
  const destroys = random.chance(0.5);
  return {
    name: `SocksDispatcher, ${byFetch ? 'fetch' : 'request'} of undici ${inside} ${JSON.stringify({ ...tunnel, ...options })}`,
    isImpatient: tunnel.connectTimeout < 1000,
    endsForGood: true,
    send: byFetch
      ? (url, how) => sendByFetch(fetch, dispatcher, url, how)
      : (url, how) => sendByRequest(undici.request, dispatcher, url, how),
    end: () => (destroys ? dispatcher.destroy() : dispatcher.close()),
    /** Frees everything after `end()`. */
    destroy: () => dispatcher.destroy(),
  };
}

async function sendByFetch(fetch, dispatcher, url, { method, body, signal, enough }) {
  const response = await fetch(url, { dispatcher, method, body, signal });
  const chunks = [];
  if (response.body) {
    for await (const chunk of response.body) {
      chunks.push(chunk);
      if (enough?.()) break;
    }
  }
  return {
    status: response.status,
    headers: Object.fromEntries(response.headers),
    body: Buffer.concat(chunks),
  };
}

async function sendByRequest(request, dispatcher, url, { method, body, signal, enough }) {
  const response = await request(url, { dispatcher, method, body, signal });
  const chunks = [];
  for await (const chunk of response.body) {
    chunks.push(chunk);
    if (enough?.()) break;
  }
  return { status: response.statusCode, headers: response.headers, body: Buffer.concat(chunks) };
}
