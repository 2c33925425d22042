// The certificate of every TLS server in the tests. It is valid for the names that the tests' proxies resolve.

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const path = (name: string): string => fileURLToPath(new URL(`../certificate/${name}`, import.meta.url));

/** For NODE_EXTRA_CA_CERTS and for programs that read a file. */
export const CERTIFICATE_FILE: string = path('cert.pem');
export const CERTIFICATE: Buffer = readFileSync(CERTIFICATE_FILE);
/** Of the same key, for 127.0.0.1, valid until 2020. It is its own authority. */
export const EXPIRED_CERTIFICATE: Buffer = readFileSync(path('expired.pem'));
export const TLS: { readonly cert: Buffer; readonly key: Buffer } = {
  cert: CERTIFICATE,
  key: readFileSync(path('key.pem')),
};
