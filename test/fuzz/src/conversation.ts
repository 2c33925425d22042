// The client and the reference server in one process, joined in memory: the server reads what the client was told to
// request.

import assert from 'node:assert/strict';
import { isIPv4, isIPv6 } from 'node:net';
import { connect } from '@socksify/core';
import { converse, encodeReply, negotiate, REP } from '@socksify/server';
import type { SocksRequest } from '@socksify/server';
import fc from 'fast-check';
import { cuts } from './bytes.ts';
import { given, goodPort, literal, name, proxyOf, wellFormed } from './input.ts';
import { join } from './pair.ts';
import { count, defineProperty } from './property.ts';
import type { Property } from './property.ts';

const login = fc.oneof(
  fc.record({ version: fc.constant(5 as const), username: wellFormed, password: wellFormed }),
  fc.record({
    version: fc.constant(5 as const),
    username: fc.constant(undefined),
    password: fc.constant(undefined),
  }),
  fc.record({
    version: fc.constant(4 as const),
    username: given(wellFormed.filter((value) => !value.includes('\0'))),
    password: fc.constant(undefined),
  }),
);

const ended = { '4': 0, '4a': 0, '5': 0, '5 + password': 0 };
const agrees = fc.asyncProperty(
  login,
  fc.record({ host: fc.oneof(literal, name), port: goodPort }),
  fc.boolean(),
  cuts,
  cuts,
  async ({ version, username, password }, to, pipeline, there, back) => {
    const bare = to.host.replace(/^\[(.*)\]$/, '$1');
    fc.pre(to.host.length <= 255 && !(version === 4 && (isIPv6(bare) || bare.startsWith('0.0.0.'))));
    const proxy = proxyOf(
      version,
      username === undefined ? undefined : password === undefined ? { username } : { username, password },
    );
    const users =
      username === undefined || version === 4 ? undefined : Object.fromEntries([[username, password ?? '']]);
    const policy = version === 4 ? { userIds: [username ?? ''] } : { users };
    const [client, server] = join(there, back);
    const serve = async (): Promise<SocksRequest> => {
      const request = await converse(server, negotiate(policy));
      server.write(Buffer.concat([encodeReply(version, REP.SUCCEEDED), Buffer.from('banner')]));
      return request;
    };
    const [request, tunnel] = await Promise.all([
      serve(),
      connect(proxy, to, { socket: client, timeout: 10_000, pipeline }),
    ]);
    const method = version === 4 ? undefined : users ? 2 : 0;
    count(ended, method === 2 ? '5 + password' : request.form);
    assert.equal(request.command, 'connect');
    assert.equal(request.atyp, isIPv6(bare) ? 'ipv6' : isIPv4(bare) ? 'ipv4' : 'name');
    assert.equal(request.host, isIPv6(bare) ? new URL(`http://[${bare}]`).hostname.slice(1, -1) : bare);
    assert.equal(request.port, to.port);
    assert.equal(request.user, version === 4 ? (username ?? '') : username);
    assert.equal(request.method, method);
    assert.deepEqual(tunnel.bound, { host: '0.0.0.0', port: 0 });
    let text = '';
    for await (const chunk of tunnel.socket) {
      text += String(chunk);
      if (text.length >= 6) break;
    }
    assert.equal(text, 'banner');
    server.destroy();
  },
);

export const CONVERSATION: readonly Property[] = [
  defineProperty('the server reads what the client was told to request', agrees, ended),
];
