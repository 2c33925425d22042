// What a check finds out: the shape of `--json`.

import type { SocksErrorCode, SocksPhase } from '@socksify/core';
import type { Certificate } from './proxy-certificate.ts';
import type { PhaseTime } from './probe-connection.ts';

export type { Certificate } from './proxy-certificate.ts';
export type { PhaseTime } from './probe-connection.ts';

/** What was wrong, and which probe found it. */
export interface CheckError {
  readonly probe: string;
  readonly code: SocksErrorCode;
  readonly phase: SocksPhase;
  /** What it usually means, or what to try. */
  readonly hint: string | null;
}

/** `null` means unknown, in every field. `docs/check.md` explains them. */
export interface CheckReport {
  /** The proxy without credentials. */
  readonly proxy: string;
  /** The proxy negotiates. With the option `target` also: that destination answered, or the proxy blamed it. */
  readonly usable: boolean | null;
  readonly reachable: boolean;
  /** Milliseconds of one round trip to the proxy. */
  readonly rtt: number | null;
  /** The certificate of the proxy; `false` for a proxy without TLS. */
  readonly tls: Certificate | false | null;
  readonly versions: {
    readonly socks4: boolean | null;
    readonly socks4a: boolean | null;
    readonly socks5: boolean | null;
  };
  /** The methods that the proxy accepts, each offered alone: 0 (no authentication), 1 (GSSAPI), 2 (user and password). */
  readonly methods: readonly number[] | null;
  readonly authentication: boolean | null;
  readonly names: boolean | null;
  readonly ipv6: boolean | null;
  /** Bytes of the destination came through the proxy. */
  readonly target: boolean | null;
  /** The proxy answers a greeting and a request that come in one segment. */
  readonly pipelining: boolean | null;
  /** The proxy reports success before it connects, so that its success says nothing. */
  readonly early: boolean | null;
  /** What answers on this port, as far as its behaviour shows. */
  readonly looksLike: string | null;
  readonly phases: Readonly<Partial<Record<SocksPhase, PhaseTime>>>;
  readonly errors: readonly CheckError[];
  /** Only with the option `idle`: how many milliseconds a connection stayed open, and whether the proxy closed it. */
  readonly idle?: { readonly ms: number; readonly closed: boolean } | null;
}

/** A report while the probes fill it in. */
export type Draft = { -readonly [Field in keyof CheckReport]: Mutable<CheckReport[Field]> };
type Mutable<T> = T extends readonly (infer Item)[]
  ? Item[]
  : T extends Certificate
    ? T
    : T extends object
      ? { -readonly [Key in keyof T]: T[Key] }
      : T;

export function draft(proxy: string): Draft {
  return {
    proxy,
    usable: false,
    reachable: false,
    rtt: null,
    tls: null,
    versions: { socks4: null, socks4a: null, socks5: null },
    methods: null,
    authentication: null,
    names: null,
    ipv6: null,
    target: null,
    pipelining: null,
    early: null,
    looksLike: null,
    phases: {},
    errors: [],
  };
}
