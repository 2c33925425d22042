// A group of routes: which of its members are tried, in which order, for the next tunnel. No IO and no timer.

import { toChain } from '../chain.ts';
import type { Destination } from '../destination.ts';
import { check, invalid, invalidOption } from '../errors.ts';
import { at } from '../given.ts';
import { COPY, GROUP, printProxy } from '../proxy.ts';
import type { ProxyLike, SocksProxy } from '../proxy.ts';
import { Member } from './member.ts';
import type { MemberState } from './member.ts';

/** The options of {@link proxyGroup}. */
export interface GroupOptions {
  /**
   * `given` (default): the first member that is ready serves all tunnels, and the others stand in for it. `rotate`: each
   * selection begins with the next member.
   */
  readonly order?: 'given' | 'rotate' | undefined;
  /** Milliseconds that a member rests after a failure. Default 10000. Doubled with each further failure, up to 5 minutes. */
  readonly rest?: number | undefined;
  /**
   * Milliseconds that a member has for dialling and negotiating alone. Then the next member begins beside it. Default
   * 1000; less if the time limit leaves less for each member. A member that is overtaken by a later one rests.
   */
  readonly stagger?: number | undefined;
  /** The clock for `rest`, in milliseconds. Default `performance.now`. */
  readonly now?: (() => number) | undefined;
}

/**
 * Proxies that stand in for each other. It is a selector, so that a client, an agent or a dispatcher takes it as its
 * route. The group remembers which members answer, so use one group for all of them.
 */
export interface ProxyGroup {
  (destination?: Destination): Alternatives;
  /**
   * The members in the order in which they are to be tried. A key, such as the name of an account, gets the same
   * order each time. When a member is added or removed, few keys get another first member (rendezvous hashing). No two
   * keys share a connection or TLS session.
   *
   * @throws TypeError `ERR_INVALID_ARG_VALUE` for a key that is no string
   * @example new SocksAgent(() => group.select(account.getStore()))
   */
  select(key?: string): Alternatives;
  /**
   * Lets a member rest, for instance because the destination has banned it. It is tried meanwhile only if no other one
   * is ready. Connections that agents and dispatchers keep at this time, through any member, serve no further request.
   *
   * @param milliseconds default: the option `rest`
   * @throws TypeError `ERR_INVALID_ARG_VALUE` for a route that is no member
   */
  rest(route: ProxyLike | readonly ProxyLike[], milliseconds?: number): void;
  /** The members as given. No credentials are in it. */
  state(): MemberState[];
}

/**
 * Members in the order in which they are to be tried, and the key that they were selected for. It is a route. Nothing of
 * it can be read, because the proxies hold credentials.
 */
export class Alternatives {
  static {
    Object.defineProperty(this.prototype, GROUP, { value: COPY });
  }

  readonly #content: AlternativesContent;

  /** @internal {@link proxyGroup} makes these. */
  constructor(content: AlternativesContent) {
    this.#content = content;
  }

  /** @internal */
  static contentOf(alternatives: Alternatives): AlternativesContent {
    return alternatives.#content;
  }
}

export interface AlternativesContent {
  /** In the order for the key or the turn, which does not depend on their health. */
  readonly members: readonly Member[];
  readonly key: string | undefined;
  readonly stagger: number;
  /** How many times the application had let a member rest. */
  readonly rests: number;
}

/** The chain that is tried first when all members are ready. */
export function firstChain(alternatives: Alternatives): readonly SocksProxy[] {
  return at(Alternatives.contentOf(alternatives).members, 0).chain;
}

const MAX_MILLISECONDS = 2 ** 31 - 1;
/** How many keys and turns have their order remembered. The order of any other one is computed again. */
const KEYS = 1000;
/** How many members these orders have together: a list of proxies can be long. */
const REFERENCES = 1_000_000;

const groups = new WeakSet<object>();
export const isGroup = (value: unknown): value is ProxyGroup =>
  typeof value === 'function' && groups.has(value);

/**
 * Makes a group of proxies and chains. If one does not answer, the next one is tried, within the same time limit. A group
 * never connects directly. A member that fails rests for a while. There are no timers and no probes: when a rest is
 * over, the next request greets that member beside its own attempt.
 *
 * @throws SocksError `ERR_SOCKS_INVALID_PROXY`, `ERR_SOCKS_INVALID_CREDENTIALS`, also for a list without a member;
 * TypeError `ERR_INVALID_ARG_VALUE` for an option
 * @example
 * const group = proxyGroup(['socks5://a.example', 'socks5://b.example'], { order: 'rotate' });
 * const { socket, chain } = await connect(group, { host: 'example.com', port: 443 });
 */
export function proxyGroup(
  routes: readonly (ProxyLike | readonly ProxyLike[])[],
  options: GroupOptions = {},
): ProxyGroup {
  const { order, rest, stagger, now } = checkGroupOptions(options);
  check(Array.isArray(routes), 'PROXY', 'a group is made of a list of proxies and chains');
  const members = Array.from(routes, (route) => new Member(toChain(checkMember(route)), rest, now));
  check(members.length > 0, 'PROXY', 'a group has at least one proxy');
  let rests = 0;
  let turn = 0;
  // By the key, or by the index of the first member; those that were selected last are at the end.
  const remembered = new Map<string | number, Alternatives>();
  const most = Math.min(KEYS, REFERENCES / members.length);

  const recall = (name: string | number, inOrder: () => readonly Member[], key?: string): Alternatives => {
    const known = remembered.get(name) ?? new Alternatives({ members: inOrder(), key, stagger, rests });
    remembered.delete(name);
    remembered.set(name, known);
    if (remembered.size > most) for (const oldest of remembered.keys()) if (remembered.delete(oldest)) break;
    return known;
  };

  /** The turn of the next member that is ready; of the next one if none is. */
  const nextTurn = (): number => {
    const following = members.map((_, i) => (turn + i) % members.length);
    const chosen = following.find((i) => members[i]?.ready) ?? turn;
    turn = (chosen + 1) % members.length;
    return chosen;
  };

  const select = (key?: string): Alternatives => {
    if (key === undefined) {
      const first = order === 'rotate' ? nextTurn() : 0;
      return recall(first, () => [...members.slice(first), ...members.slice(0, first)]);
    }
    if (typeof key !== 'string') throw invalidOption('a key is a string, such as the name of an account');
    return recall(key, () => byKey(members, key), key);
  };

  const group: ProxyGroup = Object.assign(() => select(), {
    select,
    rest(route: ProxyLike | readonly ProxyLike[], milliseconds: number = rest): void {
      checkMilliseconds('milliseconds', milliseconds, 0);
      const identity = identityOf(toChain(route));
      const found = members.filter((member) => identityOf(member.chain) === identity);
      if (found.length === 0)
        throw invalidOption('rest() is for a member of the group: pass its URL or chain');
      for (const member of found) member.rest(milliseconds);
      // Pools know alternatives by their content: a connection that is kept through this member serves no further request.
      rests++;
      remembered.clear();
    },
    state: () => members.map((member) => member.state),
  });
  Object.defineProperty(group, GROUP, { value: COPY });
  groups.add(group);
  return group;
}

function checkGroupOptions(
  options: GroupOptions,
): Required<{ [K in keyof GroupOptions]: NonNullable<GroupOptions[K]> }> {
  if (typeof options !== 'object' || options === null) throw invalidOption('options are an object');
  const { order = 'given', rest = 10_000, stagger = 1000, now = () => performance.now() } = options;
  if (order !== 'given' && order !== 'rotate') throw invalidOption("order is 'given' or 'rotate'");
  checkMilliseconds('rest', rest, 0);
  checkMilliseconds('stagger', stagger, 1);
  if (typeof now !== 'function') throw invalidOption('now is a function such as performance.now');
  return { order, rest, stagger, now };
}

function checkMilliseconds(name: string, value: unknown, least: number): void {
  if (typeof value === 'number' && value >= least && value <= MAX_MILLISECONDS) return;
  throw invalidOption(`${name} is ${least} to ${MAX_MILLISECONDS} milliseconds`);
}

function checkMember(route: unknown): ProxyLike | readonly ProxyLike[] {
  if (route === undefined)
    throw invalid('PROXY', 'undefined is a direct connection, which is never a member of a group');
  if (typeof route === 'function' || route instanceof Alternatives) {
    throw invalid('PROXY', 'a member of a group is a proxy or a chain, not a selector or a group');
  }
  return route as ProxyLike | readonly ProxyLike[];
}

/**
 * Rendezvous hashing: each pair of key and member has a weight, and the heaviest member comes first. When a member is
 * removed, only the keys that had it first get another first member.
 */
function byKey(members: readonly Member[], key: string): Member[] {
  return members
    .map((member) => ({ member, weight: hash(`${key}\0${identityOf(member.chain)}`) }))
    .toSorted((one, other) => (one.weight < other.weight ? -1 : 1))
    .map(({ member }) => member);
}

const identities = new WeakMap<readonly SocksProxy[], string>();

/**
 * A hash of the chain that is the same in every process, so that a key keeps its member. The credentials count, because
 * some proxies choose the exit by them. Without a salt it could be guessed, so it is only the input of another hash.
 */
function identityOf(chain: readonly SocksProxy[]): string {
  const known = identities.get(chain);
  if (known !== undefined) return known;
  const hops = chain.map((proxy) => {
    const { username, password } = proxy.credentials ?? {};
    return [printProxy(proxy), username, password];
  });
  const identity = hash(JSON.stringify(hops));
  identities.set(chain, identity);
  return identity;
}

function hash(text: string): string {
  // Loaded here, because the module is slow to load and most programs need no key.
  return process.getBuiltinModule('node:crypto').createHash('sha256').update(text).digest('hex');
}
