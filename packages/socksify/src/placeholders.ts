// Addresses that stand for names. A program that looks a name up before it connects gets one, and the connection to it is
// made to the name: the proxy resolves it. Nothing is asked of a name server.

/** Two /16 networks of RFC 2544, which are routed nowhere: 198.18.0.0/15. The oldest names make room. */
const SIZE = 2 ** 17;

export class Placeholders {
  readonly #addresses = new Map<string, string>();
  readonly #names = new Map<string, string>();
  #next = 0;

  /** The same address for the same name, as long as it is remembered. */
  addressOf(name: string): string {
    const known = this.#addresses.get(name);
    if (known !== undefined) return known;
    const number = this.#next++ % SIZE;
    const address = `198.${18 + (number >> 16)}.${(number >> 8) & 0xff}.${number & 0xff}`;
    const before = this.#names.get(address);
    if (before !== undefined) this.#addresses.delete(before);
    this.#names.set(address, name);
    this.#addresses.set(name, address);
    return address;
  }

  nameOf(address: string): string | undefined {
    return this.#names.get(address);
  }
}
