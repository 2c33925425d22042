// Probes that speak HTTP and TLS to the port, to find out what answers in place of a SOCKS proxy.

import { SocksError } from '@socksify/core';
import { NAME, NONE, USERPASS } from './context.ts';
import type { Context } from './context.ts';
import type { Certificate } from './report.ts';

/** What an HTTP proxy, an HTTP server and tor answer to HTTP. */
export async function http(context: Context): Promise<void> {
  const { habits } = context;
  const { host } = NAME;
  const answer = await say(context, `CONNECT ${host}:443 HTTP/1.1\r\nHost: ${host}:443\r\n\r\n`);
  const status = /^HTTP\/1\.\d (\d{3})/.exec(answer)?.[1];
  if (answer.includes('Tor is not an HTTP Proxy')) habits.http = 'tor';
  else if (status !== undefined) {
    const isProxy =
      /^(?:2..|407|500|50[234])$/.test(status) || /^(?:proxy-\w+|via|x-squid-\w+):/im.test(answer);
    habits.http = isProxy ? 'proxy' : 'server';
  } else if (context.report.versions.socks5 !== true && !habits.silent.has('http')) {
    // The http server of Node closes when it gets a CONNECT.
    if ((await say(context, 'GET / HTTP/1.0\r\n\r\n')).startsWith('HTTP/1')) habits.http = 'server';
  }
}

/** Sends a text, and returns the beginning of the answer; empty if there is none. */
async function say(context: Context, text: string): Promise<string> {
  const { habits, report, timeout, proxy } = context;
  const inside = proxy.tls && report.tls ? { rejectUnauthorized: false } : (false as const);
  try {
    const connection = await context.open({ tls: inside });
    connection.enter('greeting');
    connection.write(Buffer.from(text));
    const reacted = await connection.react(timeout);
    if (!reacted || connection.timedOut) habits.silent.add('http');
    return Buffer.from(await connection.rest(2048, 50)).toString('latin1');
  } catch (error) {
    if (error instanceof SocksError) return '';
    throw error;
  }
}

/** Finds out whether the port speaks TLS, and which protocol is inside. */
export async function tls({ habits, report, timeout, open }: Context): Promise<void> {
  try {
    const onCertificate = (certificate: Certificate): void => void (report.tls ||= certificate);
    const connection = await open({ tls: { rejectUnauthorized: false }, onCertificate });
    habits.tls = 'other';
    connection.enter('greeting');
    connection.write(Uint8Array.of(0x05, 0x02, NONE, USERPASS));
    await connection.react(timeout, 2);
    const [first, second] = await connection.rest(2, 0);
    if (first === 0x05) habits.tls = 'socks5';
    if (first === 0x48 && second === 0x54) habits.tls = 'http';
  } catch (error) {
    if (!(error instanceof SocksError)) throw error;
    if (error.code === 'ERR_SOCKS_TIMEOUT') habits.silent.add('tls');
  }
}
