// The table of probes. A probe opens connections of its own, writes what it finds out into the report, and throws the error
// that it wants to be listed. Probes of one stage run at the same time.

import { authOf, NONE, USERPASS } from './context.ts';
import type { Context } from './context.ts';
import { tunnel } from './destination-probe.ts';
import { authentication, dial, methods } from './methods.ts';
import { http, tls } from './other-protocols.ts';
import { idle, ipv4, ipv6, names, pipelining } from './requests.ts';
import { socks4, socks4a } from './requests4.ts';

export interface Probe {
  readonly name: string;
  readonly stage: number;
  readonly when?: (context: Context) => boolean;
  readonly run: (context: Context) => Promise<void>;
}

export const PROBES: readonly Probe[] = [
  { name: 'dial', stage: 1, run: dial },
  { name: 'methods', stage: 2, when: isOpen, run: methods },
  { name: 'authentication', stage: 3, when: canLogIn, run: authentication },
  { name: 'tor', stage: 3, when: acceptsBoth, run: http },
  { name: 'http', stage: 3, when: isUnknown, run: http },
  { name: 'tls', stage: 3, when: isUnknown, run: tls },
  { name: 'socks4', stage: 4, when: isOpen, run: socks4 },
  { name: 'socks4a', stage: 4, when: isOpen, run: socks4a },
  { name: 'names', stage: 4, when: canRequest, run: names },
  { name: 'ipv4', stage: 4, when: canRequest, run: ipv4 },
  { name: 'ipv6', stage: 4, when: canRequest, run: ipv6 },
  { name: 'target', stage: 4, when: hasDestination, run: tunnel },
  { name: 'pipelining', stage: 5, when: answersRequests, run: pipelining },
  { name: 'idle', stage: 6, when: hasIdle, run: idle },
];

function isOpen({ report, proxy }: Context): boolean {
  return report.reachable && (!proxy.tls || !!report.phases['proxy-tls']);
}

function isUnknown({ report }: Context): boolean {
  return report.reachable && report.versions.socks5 !== true;
}

function acceptsBoth({ report }: Context): boolean {
  return !!report.methods?.includes(NONE) && report.methods.includes(USERPASS);
}

function canLogIn({ report, proxy }: Context): boolean {
  return proxy.version === 5 && !!proxy.credentials && !!report.methods?.includes(USERPASS);
}

function canRequest(context: Context): boolean {
  return authOf(context) !== undefined;
}

function hasDestination(context: Context): boolean {
  return !!context.destination && isOpen(context) && (context.proxy.version === 4 || canRequest(context));
}

function answersRequests({ habits }: Context): boolean {
  return habits.name !== undefined && !/_TIMEOUT$|_PROTOCOL$/.test(habits.name.error?.code ?? '');
}

function hasIdle(context: Context): boolean {
  return context.idle !== undefined && canRequest(context);
}
