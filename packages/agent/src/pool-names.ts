// A short name for each way through proxies, so that two requests share a socket only when they share the proxies
// and the credentials. Salted for each agent: nobody can tell credentials from a name.

import { createHmac, randomBytes } from 'node:crypto';
import type { Via } from '@socksify/core';

export class PoolNames {
  readonly #salt = randomBytes(16);
  readonly #known = new WeakMap<object, string>();
  readonly #tls = new WeakMap<object, number>();
  #tlsCount = 0;

  of(via: Via): string {
    if (via === 'direct') return 'direct';
    const known = this.#known.get(via);
    if (known !== undefined) return known;
    const hops = via.map(({ version, host, port, path, dns, credentials, tls }) => [
      version,
      host,
      port,
      path,
      dns,
      credentials?.username,
      credentials?.password,
      tls && this.#identity(tls),
    ]);
    const name = createHmac('sha256', this.#salt)
      .update(JSON.stringify(hops))
      .digest('base64url')
      .slice(0, 22);
    this.#known.set(via, name);
    return name;
  }

  #identity(tls: object): number {
    const known = this.#tls.get(tls);
    if (known !== undefined) return known;
    this.#tls.set(tls, ++this.#tlsCount);
    return this.#tlsCount;
  }
}
