// The client's side of SOCKS a second time, as an encoder: what a server has to understand. Imports nothing of the
// packages, so that the server can be held against it.

/** A destination in the form in which it is to be sent. */
export interface Destination {
  readonly form: 'ipv4' | 'ipv6' | 'name';
  /** Four or sixteen octets, or the name. */
  readonly octets: Buffer;
  readonly port: number;
}

function uint16(value: number): Buffer {
  return Buffer.from([value >> 8, value & 0xff]);
}

function counted(bytes: Buffer): Buffer {
  return Buffer.concat([Buffer.from([bytes.length]), bytes]);
}

/** SOCKS4 for an address, SOCKS4A for a name, with 0.0.0.`mark`. */
export function encode4({ form, octets, port }: Destination, userId: Buffer, mark: number): Buffer[] {
  const named = form === 'name';
  const nul = Buffer.from([0]);
  const address = named ? Buffer.from([0, 0, 0, mark]) : octets;
  const parts = [Buffer.from([4, 1]), uint16(port), address, userId, nul, ...(named ? [octets, nul] : [])];
  return [Buffer.concat(parts)];
}

export function encode5(
  { form, octets, port }: Destination,
  methods: readonly number[],
  login?: { readonly username: Buffer; readonly password: Buffer },
): Buffer[] {
  const address =
    form === 'name'
      ? Buffer.concat([Buffer.from([3]), counted(octets)])
      : Buffer.concat([Buffer.from([form === 'ipv4' ? 1 : 4]), octets]);
  return [
    Buffer.concat([Buffer.from([5]), counted(Buffer.from(methods))]),
    ...(login ? [Buffer.concat([Buffer.from([1]), counted(login.username), counted(login.password)])] : []),
    Buffer.concat([Buffer.from([5, 1, 0]), address, uint16(port)]),
  ];
}
