// Probes of the connection, and of what comes before a request: the methods that the proxy accepts, and the credentials.

import { handshake, SocksError } from '@socksify/core';
import type { AuthMethod } from '@socksify/core';
import { as5, GSSAPI, NAME, NONE, USERPASS, withHint } from './context.ts';
import type { Context } from './context.ts';
import { negotiation } from './handshake-steps.ts';

/** Dials, and speaks TLS to the proxy. Nothing is sent. */
export async function dial({ report, open }: Context): Promise<void> {
  report.reachable = true;
  try {
    const connection = await open({ onCertificate: (certificate) => (report.tls = certificate) });
    report.tls ??= false;
    report.rtt = connection.times.dial?.ms ?? null;
    Object.assign(report.phases, connection.times);
  } catch (error) {
    report.reachable = !(error instanceof SocksError && error.phase === 'dial');
    throw error;
  }
}

/** Offers each method alone. No message of the method follows. */
export async function methods(context: Context): Promise<void> {
  const { report, habits } = context;
  const found = await Promise.all([NONE, GSSAPI, USERPASS].map((id) => offer(context, id)));
  const chosen = found.filter((id) => typeof id === 'number');
  const errors = found.filter((error) => error instanceof SocksError);
  const answered = errors.some(({ code }) => code === 'ERR_SOCKS_NO_ACCEPTABLE_METHOD');
  habits.greetings = errors;
  habits.closesOnNoMethod = chosen.length > 0 && errors.some(({ code }) => code === 'ERR_SOCKS_PROXY_CLOSED');
  if (chosen.length > 0 || answered) {
    report.versions.socks5 = true;
    report.methods = chosen;
  } else if (!errors.every(({ code }) => code === 'ERR_SOCKS_TIMEOUT') && !errors.some(isTlsError))
    report.versions.socks5 = false;
  if (context.proxy.version === 5) throwFirst(context, chosen, errors);
}

/** Throws the most serious error of the greetings, if there is one. */
function throwFirst(
  { report, proxy }: Context,
  chosen: readonly number[],
  errors: readonly SocksError[],
): void {
  const first = errors.find(isTlsError) ?? errors[0];
  const defect = errors.find(({ code }) => code === 'ERR_SOCKS_PROTOCOL');
  if (defect && report.versions.socks5)
    throw withHint(defect, 'the proxy chooses a method that was not offered');
  if (first && chosen.length === 0)
    throw withHint(first, METHOD_HINTS.neither, report.versions.socks5 === true);
  if (chosen.includes(proxy.credentials ? USERPASS : NONE)) return;
  const hint = proxy.credentials ? METHOD_HINTS.unused : METHOD_HINTS.wanted;
  throw new SocksError('ERR_SOCKS_NO_ACCEPTABLE_METHOD', { phase: 'greeting', hint });
}

function isTlsError({ code }: SocksError): boolean {
  return code === 'ERR_SOCKS_PROXY_TLS';
}

const METHOD_HINTS = {
  neither: 'the proxy accepts none of the methods 00, 01 (GSSAPI) and 02 (user and password)',
  unused: 'the proxy takes no password: it is not sent, and can be left out of the URL',
  wanted: 'the proxy wants credentials: write socks5://user:password@host:port',
} as const;

async function offer(context: Context, id: number): Promise<number | SocksError> {
  const { report } = context;
  try {
    const connection = await context.open();
    try {
      await connection.perform(handshake(as5(context), NAME, { auth: [stopAt(id)] }));
    } finally {
      const { greeting } = connection.times;
      if (greeting && greeting.ms < (report.phases.greeting?.ms ?? Infinity)) {
        report.phases.greeting = greeting;
        report.rtt = Math.min(greeting.ms, report.rtt ?? Infinity);
      }
    }
    throw new Error('a method ended without its messages');
  } catch (error) {
    if (!(error instanceof SocksError)) throw error;
    return error.cause instanceof Chosen ? error.cause.id : error;
  }
}

/** Offers method 02 alone, and sends the credentials only if the proxy chooses it. */
export async function authentication(context: Context): Promise<void> {
  const { report } = context;
  const connection = await context.open();
  try {
    await connection.perform(negotiation(handshake(as5(context), NAME, { auth: 'required' }), 2));
    report.authentication = true;
    if (connection.times.authentication) report.phases.authentication = connection.times.authentication;
  } catch (error) {
    const refused = error instanceof SocksError && /_AUTH_FAILED$|_PROXY_CLOSED$/.test(error.code);
    report.authentication = refused && error.phase === 'authentication' ? false : null;
    throw error;
  }
}

/** Thrown when the server has chosen the method, so that the handshake ends there. */
class Chosen extends Error {
  readonly id: number;

  constructor(id: number) {
    super();
    this.id = id;
  }
}

function stopAt(id: number): AuthMethod {
  return {
    id,
    // oxlint-disable-next-line require-yield -- no message follows
    *authenticate() {
      throw new Chosen(id);
    },
  };
}
