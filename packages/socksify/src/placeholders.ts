// Addresses that stand for names. A program that looks a name up before it connects gets such an address. When it
// connects to the address, the tunnel leads to the name, which the proxy resolves. No name server gets a question.

/** Two /16 networks of RFC 2544, which are routed nowhere: 198.18.0.0/15. When all are used, the oldest is used again. */
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
