// What a check says of the certificate of a proxy.

import type { PeerCertificate, TLSSocket } from 'node:tls';

/** The certificate that a proxy has shown. */
export interface Certificate {
  readonly protocol: string;
  /** True if this process trusts the certificate for the host of the proxy. */
  readonly authorized: boolean;
  readonly subject: string;
  readonly issuer: string;
  /** ISO 8601. */
  readonly validTo: string | null;
}

/** @param censor takes out what must not be printed */
export function describeCertificate(socket: TLSSocket, censor: (text: string) => string): Certificate {
  const certificate: Partial<PeerCertificate> = socket.getPeerCertificate() ?? {};
  const { subject, issuer, valid_to: until } = certificate;
  const time = new Date(until ?? '');
  return {
    protocol: socket.getProtocol() ?? '',
    authorized: socket.authorized,
    subject: censor(nameOf(subject)),
    issuer: censor(nameOf(issuer)),
    validTo: Number.isNaN(time.getTime()) ? null : time.toISOString(),
  };
}

/** What to do about a certificate that Node refuses with this code. */
export function certificateHint(
  code: string | undefined,
  socket: TLSSocket,
  censor: (text: string) => string,
): string {
  // All of OpenSSL's names for an issuer that is not trusted.
  if (/SELF_SIGNED|LEAF_SIGNATURE|ISSUER_CERT/.test(code ?? ''))
    return 'give the certificate authority by NODE_EXTRA_CA_CERTS';
  let problem = `is refused: ${code}`;
  if (code === 'CERT_HAS_EXPIRED') problem = 'has expired';
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    const { subject, subjectaltname }: Partial<PeerCertificate> = socket.getPeerCertificate();
    const names = subjectaltname?.replaceAll(/\b(?:DNS|IP Address):/g, '') ?? nameOf(subject);
    problem = `names ${censor(names.split(', ', 3).join(', '))}`;
  }
  return `the certificate of the proxy ${problem}`;
}

function nameOf(name: Partial<PeerCertificate['subject']> | undefined): string {
  return [name?.CN ?? name?.O ?? ''].flat().join(', ');
}
