// The three clients of socksify that are put under load. Each has one function that sends a request and returns the
// answer as a stream.

import http from 'node:http';
import { Readable } from 'node:stream';
import { SocksAgent } from '@socksify/agent';
import { SocksClient } from '@socksify/core';
import { SocksDispatcher } from '@socksify/undici';

/** Over a bare tunnel Node's http is the parser: one tunnel, one request. */
function core(proxy) {
  const client = new SocksClient(proxy);
  const underWay = new Set();
  return {
    name: 'SocksClient',
    async send(url, { body, signal } = {}) {
      const { hostname: host, port } = new URL(url);
      const { socket } = await client.connect({ host, port: Number(port) }, { ...(signal && { signal }) });
      underWay.add(socket);
      socket.once('close', () => underWay.delete(socket));
      return respond(
        http.request(url, { createConnection: () => socket, method: body ? 'POST' : 'GET', signal }),
        body,
      );
    },
    async close() {
      await client.close();
      for (const socket of underWay) socket.destroy();
    },
  };
}

function agent(proxy, { keepAlive = false } = {}) {
  const socks = new SocksAgent(proxy, { keepAlive });
  return {
    name: 'SocksAgent',
    send: (url, { body, signal } = {}) =>
      respond(http.request(url, { agent: socks, method: body ? 'POST' : 'GET', signal }), body),
    async close() {
      socks.destroy();
    },
  };
}

function dispatcher(proxy, { keepAlive = false } = {}) {
  const socks = new SocksDispatcher(proxy, keepAlive ? {} : { pipelining: 0 });
  return {
    name: 'SocksDispatcher',
    async send(url, { body, signal } = {}) {
      const response = await fetch(url, {
        dispatcher: socks,
        ...(body && {
          method: 'POST',
          body: body instanceof Buffer ? body : Readable.from(body),
          duplex: 'half',
        }),
        ...(signal && { signal }),
      });
      return Readable.fromWeb(response.body);
    },
    close: () => socks.destroy(),
  };
}

export const ADAPTERS = [core, agent, dispatcher];

function respond(request, body) {
  return new Promise((resolve, reject) => {
    request.once('response', resolve).on('error', reject);
    if (body === undefined || body instanceof Buffer) request.end(body);
    else Readable.from(body).on('error', reject).pipe(request);
  });
}

/** The code of an error: fetch has it in the cause. */
export function codeOf(error) {
  return error.code ?? (error.cause ? codeOf(error.cause) : error.name);
}
