// Runs every situation through one entry point, each after a mark that strace sees, and prints what came of each.
// Arguments: the entry point, and the situations as JSON.

import { once } from 'node:events';
import http from 'node:http';
import https from 'node:https';
import net from 'node:net';
import { SocksAgent } from '@socksify/agent';
import { connect, SocksClient } from '@socksify/core';
import { setGlobalDispatcher, SocksDispatcher } from '@socksify/undici';

const [entry, json] = process.argv.slice(2);
const { marker, situations } = JSON.parse(json);
const undici = await import(Number(process.versions.node.split('.')[0]) < 22 ? 'undici7' : 'undici8');

const ENTRIES = {
  'connect()': async (route, { host, port }, { tunnel, signal }) =>
    finish((await connect(route, { host, port }, { ...tunnel, signal })).socket),
  SocksClient: async (route, { host, port }, { tunnel, standby, signal }) => {
    const client = new SocksClient(route, { ...tunnel, standby });
    try {
      const open = async () => finish((await client.connect({ host, port }, { signal })).socket);
      return await several(open, standby);
    } finally {
      await client.close();
    }
  },
  'SocksAgent, http': (...args) => throughAgent(http, ...args),
  'SocksAgent, https': (...args) => throughAgent(https, ...args),
  'SocksDispatcher, fetch': (route, { url }, { tunnel, standby, signal }) =>
    closing(new SocksDispatcher(route, { ...tunnel, standby }), standby, async (dispatcher) =>
      (await fetch(url, { dispatcher, signal })).text(),
    ),
  'setGlobalDispatcher, fetch': (route, { url }, { tunnel, standby, signal }) =>
    closing(new SocksDispatcher(route, { ...tunnel, standby }), standby, async (dispatcher) => {
      const undo = setGlobalDispatcher(dispatcher);
      try {
        return await (await fetch(url, { signal })).text();
      } finally {
        undo();
      }
    }),
  'SocksDispatcher, request of undici': (route, { url }, { tunnel, standby, signal }) =>
    closing(
      new SocksDispatcher(route, { ...tunnel, standby, Agent: undici.Agent }),
      standby,
      async (dispatcher) => (await undici.request(url, { dispatcher, signal })).body.text(),
    ),
};

async function throughAgent({ request }, route, { url }, { tunnel, standby, signal }) {
  const agent = new SocksAgent(route, { ...tunnel, standby, rejectUnauthorized: false });
  try {
    return await several(async () => {
      const [response] = await once(request(url, { agent, signal }).end(), 'response');
      return text(response);
    }, standby);
  } finally {
    agent.destroy();
  }
}

async function closing(dispatcher, standby, request) {
  try {
    return await several(() => request(dispatcher), standby);
  } finally {
    await dispatcher.destroy();
  }
}

/** With standby, a second tunnel uses what the first one left. */
async function several(open, standby) {
  if (standby) await open();
  return open();
}

async function finish(socket) {
  socket.end('GET / HTTP/1.0\r\n\r\n');
  return (await text(socket)).split('\r\n\r\n')[1];
}

async function text(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

/** A look-up of the program's own, which sends nothing. */
const lookupIn = (names, seen) => (host, options, callback) => {
  seen.push(host);
  const addresses = (names[host] ?? []).map((address) => ({ address, family: net.isIP(address) }));
  if (addresses.length === 0) callback(Object.assign(new Error(host), { code: 'ENOTFOUND' }));
  else if (options.all) callback(null, addresses);
  else callback(null, addresses[0].address, addresses[0].family);
};

/** A connect() that strace sees, to a path that does not exist. */
const mark = (name) =>
  new Promise((resolve) => {
    net.connect(`${marker}${name}`).on('error', resolve);
  });

const results = {};
for (const [name, { route, direct, to, abort, standby, pipeline, names }] of Object.entries(situations)) {
  const seen = [];
  const tunnel = { ...(pipeline && { pipeline }), ...(names && { lookup: lookupIn(names, seen) }) };
  const signal = abort ? AbortSignal.timeout(abort) : undefined;
  await mark(name);
  const outcome = await ENTRIES[entry](direct ? () => undefined : route, to, {
    tunnel,
    standby,
    signal,
  }).catch((error) => codeOf(error));
  results[name] = { outcome, looked: seen };
}
await mark('end');
console.log(JSON.stringify(results));

function codeOf({ name, code, cause }) {
  return typeof code === 'string' ? code : cause ? codeOf(cause) : name;
}
