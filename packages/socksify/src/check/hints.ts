// What to try when the connection to a proxy closes, stays silent or cannot be dialled, by the phase or the code.

import type { SocksPhase } from '@socksify/core';

type Hints = Readonly<Partial<Record<SocksPhase, string>>>;

export const CLOSED: Hints = {
  'proxy-tls': 'a proxy without TLS closes like this: try socks5://',
  greeting:
    'OpenSSH closes when it accepts none of the offered methods; other servers close when they speak no SOCKS5',
  authentication: 'the proxy may refuse the credentials like this',
  request: 'OpenSSH closes without a reply when the destination refuses or its name is unknown',
};

export const SILENT: Hints = {
  dial: 'a firewall may drop the packets: check host and port',
  'proxy-tls': 'a proxy without TLS does not answer: try socks5://',
  greeting:
    'a port that does not answer may want TLS (try socks5s://) or shadowsocks (use the port of ss-local)',
  request: 'the proxy may still be connecting: try a longer --timeout',
};

const NO_ROUTE = 'there is no route to this address: check the network';
const NO_TLS = 'the port answers without TLS: try socks5://';

export const BY_CODE: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens on this port: start the proxy, or check the port',
  ENOTFOUND: 'this name does not exist: check the host',
  EAI_AGAIN: 'no name server answered: check the network',
  ENOENT: 'there is no such socket: check the path',
  EACCES: 'this user may not open the socket',
  ENETUNREACH: NO_ROUTE,
  EHOSTUNREACH: NO_ROUTE,
  ERR_SSL_WRONG_VERSION_NUMBER: NO_TLS,
  ERR_SSL_PACKET_LENGTH_TOO_LONG: NO_TLS,
  ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED:
    'the proxy wants a client certificate: give it as tls: { cert, key } of the proxy object',
};
