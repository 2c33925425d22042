// Downloads and uploads of the size given, in MiB, so that a figure is CPU for each MiB.

import { connect } from 'node:net';
import tls from 'node:tls';
import http from 'node:http';
import https from 'node:https';
import { CERTIFICATE as ca } from '@socksify/support';
import { AGENTS, byDispatcher, SOCKETS } from '../clients.js';

const MiB = 1024 * 1024;
const CHUNK = Buffer.alloc(64 * 1024, 'socks');

const plainSocket = (port) =>
  new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' }, () => resolve(socket));
  });

const candidates = {};
for (const scheme of ['http', 'https']) {
  const relay = scheme === 'http' ? 'relayHttp' : 'relayHttps';
  for (const direction of ['down', 'up']) {
    const add = (group, client, start) => {
      candidates[`${direction}, ${scheme}, ${group}: ${client}`] = (ports) =>
        transfer(direction, start(ports));
    };
    add('socket', 'plain', (ports) => bySocket(scheme, plainSocket, ports[relay]));
    add('socket', 'core', (ports) => bySocket(scheme, SOCKETS.core(ports.socks), ports[scheme]));
    add('http', 'plain', (ports) => byRequest(scheme, 'plain', ports, ports[relay]));
    add('http', 'agent', (ports) => byRequest(scheme, 'agent', ports, ports[scheme]));
    add('undici', 'plain', (ports) => byUndici(scheme, 'plain', ports, ports[relay]));
    add('undici', 'dispatcher', (ports) => byUndici(scheme, 'dispatcher', ports, ports[scheme]));
  }
}
export default candidates;

function transfer(direction, { down, up }) {
  return async (size) => {
    const started = process.cpuUsage();
    if (direction === 'down') await down(size * MiB);
    else await up(size * MiB);
    const { user, system } = process.cpuUsage(started);
    return (user + system) / size;
  };
}

function bySocket(scheme, open, port) {
  const socketTo = async () => {
    const socket = await open(port);
    return scheme === 'http' ? socket : tls.connect({ socket, ca, servername: 'localhost' });
  };
  return {
    async down(bytes) {
      const socket = await socketTo();
      socket.write(`GET /download?${bytes} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`);
      const read = await sizeOf(socket);
      if (read < bytes) throw new Error(`${read} bytes came, of ${bytes}`);
    },
    async up(bytes) {
      const socket = await socketTo();
      socket.write(
        `POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: ${bytes}\r\n\r\n`,
      );
      await writeAll(socket, bytes);
      await verified(socket, bytes);
    },
  };
}

function byRequest(scheme, name, ports, port) {
  const agents = AGENTS[name](ports.socks, { keepAlive: true });
  const agent = agents[scheme];
  const module = scheme === 'http' ? http : https;
  const options = { agent, host: '127.0.0.1', port };
  return {
    down: (bytes) =>
      new Promise((resolve, reject) => {
        const request = module.get({ ...options, path: `/download?${bytes}` }, (response) => {
          void sizeOf(response).then((read) =>
            read === bytes ? resolve() : reject(new Error(`${read} bytes`)),
          );
        });
        request.on('error', reject);
      }),
    async up(bytes) {
      const headers = { 'content-length': bytes };
      const request = module.request({ ...options, method: 'POST', headers });
      const answer = new Promise((resolve, reject) => request.on('response', resolve).on('error', reject));
      await writeAll(request, bytes, false);
      request.end();
      await verified(await answer, bytes);
    },
  };
}

function byUndici(scheme, name, ports, port) {
  const client = byDispatcher(7, name, ports.socks);
  const url = `${scheme}://127.0.0.1:${port}`;
  return {
    async down(bytes) {
      const { request, dispatcher } = await client;
      const { body } = await request(`${url}/download?${bytes}`, { dispatcher });
      const read = await sizeOf(body);
      if (read !== bytes) throw new Error(`${read} bytes came, of ${bytes}`);
    },
    async up(bytes) {
      const { request, dispatcher } = await client;
      const chunks = function* () {
        for (let left = bytes; left > 0; left -= CHUNK.length) yield CHUNK;
      };
      const { body } = await request(`${url}/`, { dispatcher, method: 'POST', body: chunks() });
      await verified(body, bytes);
    },
  };
}

function sizeOf(stream) {
  return new Promise((resolve, reject) => {
    let size = 0;
    stream.on('data', (data) => (size += data.length));
    stream.on('end', () => resolve(size)).on('error', reject);
  });
}

async function writeAll(stream, bytes) {
  for (let left = bytes; left > 0; left -= CHUNK.length) {
    if (!stream.write(CHUNK)) await new Promise((resolve) => stream.once('drain', resolve));
  }
}

async function verified(stream, bytes) {
  let text = '';
  for await (const data of stream) text += data.toString('latin1');
  if (!text.includes(String(bytes))) throw new Error(`the server answered ${JSON.stringify(text)}`);
}
