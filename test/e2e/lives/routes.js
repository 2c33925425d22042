// The routes of the lives. Every proxy resolves the site's names to an address of its own, so that the site sees which
// proxy a request came through.

import { startScript, startServer } from '@socksify/server';
import { freePort } from '@socksify/support';

/** All names that the site's certificate has. */
export const HOSTS = ['origin.test', 'ip6.test', 'dual.test', 'echo.test', 'given.test', 'header.test'];
const DIRECT = '127.0.0.9';

const namesAt = (address) => Object.fromEntries(HOSTS.map((host) => [host, address]));

export async function startRoutes() {
  const open = await startServer({ names: namesAt('127.0.0.11') });
  const closed = await startServer({ names: namesAt('127.0.0.12'), users: { ann: '1', bob: '2' } });
  const last = await startServer({ names: namesAt('127.0.0.13') });
  const four = await startServer({ names: namesAt('127.0.0.14') });
  const refusing = await startServer({ names: namesAt('127.0.0.15'), rules: [{ deny: {} }] });
  const silent = await startScript([{ stall: true }]);
  const closing = await startScript([{ read: 1 }, { close: true }]);
  const servers = [open, closed, last, four, refusing];

  const dead = `socks5://127.0.0.1:${await freePort()}`;

  /** The user of each connection to the site. The key has both ports, because one local port can serve two connections. */
  const users = new Map();
  closed.on('request', ({ port, outgoingPort, user }) => users.set(`${port} ${outgoingPort}`, user));

  const user = (name, password) => closed.url('socks5', { username: name, password });
  /**
   * The answers of the selector. `fails` is the code with which a request fails; without it the request can succeed. A
   * request over an `endless` route never ends by itself.
   */
  const choices = {
    direct: { answer: () => undefined },
    open: { answer: () => open.url('socks5') },
    ann: { answer: () => user('ann', '1') },
    bob: { answer: () => user('bob', '2') },
    chain: { answer: () => [open.url('socks5'), last.url('socks5')] },
    four: { answer: () => four.url('socks4a') },
    wrong: { answer: () => user('ann', 'wrong'), fails: 'ERR_SOCKS_AUTH_FAILED' },
    refusing: { answer: () => refusing.url('socks5'), fails: 'ERR_SOCKS_NOT_ALLOWED' },
    dead: { answer: () => dead, fails: 'ERR_SOCKS_PROXY_UNREACHABLE' },
    closing: { answer: () => closing.url('socks5'), fails: 'ERR_SOCKS_PROXY_CLOSED' },
    silent: { answer: () => silent.url('socks5'), fails: 'ERR_SOCKS_TIMEOUT', endless: true },
    nonsense: { answer: () => 'http://proxy.test', fails: 'ERR_SOCKS_INVALID_PROXY' },
    never: { answer: () => new Promise(() => {}), fails: 'ERR_SOCKS_TIMEOUT', endless: true },
    throws: { fails: 'SELECTOR' },
  };
  /** How often each is drawn. Routes that delay a request for long are rare. */
  const weights = {
    direct: 6,
    open: 8,
    ann: 8,
    bob: 8,
    chain: 6,
    four: 6,
    wrong: 2,
    refusing: 2,
    dead: 2,
    closing: 2,
    silent: 1,
    nonsense: 1,
    never: 1,
    throws: 2,
  };
  const NAMES = { '127.0.0.11': 'open', '127.0.0.13': 'chain', '127.0.0.14': 'four', [DIRECT]: 'direct' };

  return {
    choices,
    weights,
    servers,
    /** A look-up for direct connections. */
    lookup: (host, { all }, callback) => {
      if (!HOSTS.includes(host))
        callback(Object.assign(new Error(`looked up ${host}`), { code: 'ENOTFOUND' }));
      else if (all) callback(null, [{ address: DIRECT, family: 4 }]);
      else callback(null, DIRECT, 4);
    },
    /** The choice through which a connection to the site came, as the site sees it. */
    seen: ({ localAddress, localPort, remotePort }) =>
      localAddress === '127.0.0.12' ? users.get(`${localPort} ${remotePort}`) : NAMES[localAddress],
    /** Connections that clients have open, to proxies of any kind. */
    connections: () =>
      servers.reduce((sum, { connections }) => sum + connections, 0) +
      [silent, closing].reduce(
        (sum, { connections }) => sum + connections.filter(({ ended }) => !ended).length,
        0,
      ),
    /** Clears the logs, and closes the connections that scripts never close by themselves. */
    forget() {
      for (const { log, refusals } of servers) log.length = refusals.length = 0;
      for (const { connections } of [silent, closing]) {
        for (const connection of connections.splice(0)) connection.destroy();
      }
    },
    close: () => Promise.all([...servers, silent, closing].map((server) => server.close())),
  };
}
