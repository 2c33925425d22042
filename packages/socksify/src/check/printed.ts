// What may be printed: the proxy without credentials, and words of the server without control characters and passwords.

import { isIPv6 } from 'node:net';
import type { SocksProxy } from '@socksify/core';

/** The proxy as a URL without credentials. */
export function printProxy({ version, dns, tls, host, port, path }: SocksProxy): string {
  const scheme = version === 5 ? (tls ? 'socks5s' : 'socks5') : dns === 'remote' ? 'socks4a' : 'socks4';
  return `${scheme}://${path === undefined ? printAddress({ host, port }) : `localhost${path}`}`;
}

export function printAddress({ host, port }: { readonly host: string; readonly port: number }): string {
  return `${isIPv6(host) ? `[${host}]` : host}:${port}`;
}

/** Makes a function that shortens what a server sent, and takes out control characters and every form of the password. */
export function createCensor({
  username = '',
  password = '',
}: Partial<SocksProxy['credentials'] & object> = {}): (text: string) => string {
  const forms = [password, encodeURIComponent(password), encodeURI(password)].concat(
    [password, `${username}:${password}`].flatMap((text) =>
      (['base64', 'base64url', 'hex'] as const).map((encoding) =>
        Buffer.from(text).toString(encoding).replace(/=+$/, ''),
      ),
    ),
  );
  const secret = password === '' ? [] : forms.map((form) => form.toLowerCase());
  return (text) => {
    // oxlint-disable-next-line no-control-regex -- taking them out is the point
    const plain = text.replaceAll(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, '?');
    return secret.some((form) => plain.toLowerCase().includes(form)) ? '(hidden)' : plain.slice(0, 100);
  };
}
