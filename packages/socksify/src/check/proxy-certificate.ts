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

export function describeCertificate(socket: TLSSocket): Certificate {
  const certificate: Partial<PeerCertificate> = socket.getPeerCertificate() ?? {};
  const { subject, issuer, valid_to: until } = certificate;
  const time = new Date(until ?? '');
  return {
    protocol: socket.getProtocol() ?? '',
    authorized: socket.authorized,
    subject: nameOf(subject),
    issuer: nameOf(issuer),
    validTo: Number.isNaN(time.getTime()) ? null : time.toISOString(),
  };
}

function nameOf(name: Partial<PeerCertificate['subject']> | undefined): string {
  return [name?.CN ?? name?.O ?? ''].flat().join(', ');
}
