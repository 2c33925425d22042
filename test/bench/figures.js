// What is measured. A row is compared with its control, by quotient or by difference; without a control it stands alone.
// `goal` is what a row should come to, `limit` what it may come to in a check, where that differs. `size` is what one
// batch does, `warm` what comes before the first batch, and `renew` the rounds after which each candidate gets a fresh
// process: the same program is faster in one process than in another, for the whole life of the process. `crowded` is for
// a figure whose servers have no room for the connections of another checkout. `small` is for a run of a minute on a busy
// machine.

/** @typedef {{ row: string, control?: string, goal?: number, limit?: number }} Row */

/** Rows that are compared with one control, each with its goal, or with `[goal, limit]`; other libraries have none. */
const over = (control, goals) =>
  Object.entries(goals).map(([row, given]) => {
    const [goal, limit] = [given].flat();
    return { row, control, goal, limit };
  });
/** Rows without a control. */
const alone = (goals) => over(undefined, goals);

/** fetch-socks brings the newest undici with it. */
const clientsOf = (version) => ['Socks5ProxyAgent', ...(version === 8 ? ['fetch-socks'] : [])];
/** The rows of one version of undici; `prefix` ends the name of the group. */
const ofUndici = (prefix, version, goal) => {
  const row = (client) => `undici ${version}${prefix}: ${client}`;
  const clients = [['dispatcher', goal], ...clientsOf(version).map((client) => [client])];
  return over(row('exchange'), Object.fromEntries(clients.map(([client, each]) => [row(client), each])));
};
const MAJOR = Number(process.versions.node.split('.')[0]);
/** undici 8 needs Node 22.19. */
const VERSIONS = MAJOR < 22 ? [7] : [7, 8];
/**
 * What a check of a minute can say of CPU: of one version of undici, and that a row has not become twice its control. On
 * a busy machine the medians of a few rounds are off by half, so counts stand for smaller changes.
 */
const roughly = (rows) =>
  rows
    .filter(({ row, goal }) => goal !== undefined && !row.startsWith('undici 8'))
    .map(({ row, control, goal }) => ({ row, control, goal, limit: 2 }));

/** The young generation holds a whole batch, so that no collection comes between. */
const NO_COLLECTION = ['--min-semi-space-size=128', '--max-semi-space-size=128'];
/** A count of one operation, over that of the exchange in its place. */
const counts = (count, operation, limits) =>
  Object.entries(limits).flatMap(([group, rows]) =>
    over(
      `${count}, ${operation}, ${group}: exchange`,
      Object.fromEntries(
        Object.entries(rows).map(([client, limit]) => [
          `${count}, ${operation}, ${group}: ${client}`,
          [undefined, limit],
        ]),
      ),
    ),
  );

const CONNECTIONS = [
  ...over('socket: exchange', { 'socket: core': [1.2, 1.5], 'socket: socks': undefined }),
  ...over('http: exchange', { 'http: agent': [1.25, 1.5], 'http: socks-proxy-agent': undefined }),
  ...VERSIONS.flatMap((version) => ofUndici(', http', version, [1.15, 1.4])),
];
const REQUESTS = [
  ...over('http: exchange', { 'http: agent': [1.05, 1.2], 'http: socks-proxy-agent': undefined }),
  ...over('https: exchange', { 'https: agent': [1.05, 1.2] }),
  ...VERSIONS.flatMap((version) => ofUndici('', version, [1.05, 1.2])),
  ...over('fetch: plain', { 'fetch: dispatcher': [1.05, 1.2] }),
];

export const FIGURES = [
  {
    name: 'connections',
    title: 'CPU of a new connection with one request, 64 at a time, over a hand-written exchange',
    file: 'connections',
    size: 512,
    warm: 2500,
    rounds: 25,
    renew: 5,
    rows: CONNECTIONS,
    small: { rounds: 9, renew: Infinity, size: 256, warm: 1500, rows: roughly(CONNECTIONS) },
  },
  {
    name: 'tls-connections',
    title: 'CPU of a new connection over TLS with one request, 16 at a time, over a hand-written exchange',
    file: 'connections',
    size: 128,
    warm: 500,
    rounds: 25,
    renew: 5,
    rows: [
      ...over('https: exchange', { 'https: agent': [1.05, 1.2], 'https: socks-proxy-agent': undefined }),
      ...VERSIONS.flatMap((version) => ofUndici(', https', version, [0.92, 1.4])),
    ],
  },
  {
    name: 'requests',
    title: "CPU of a kept-alive request, over Node's or undici's own agent with a hand-written exchange",
    file: 'requests',
    size: 600,
    warm: 2500,
    rounds: 25,
    renew: 5,
    rows: REQUESTS,
    small: { rounds: 9, renew: Infinity, size: 400, warm: 1500, rows: roughly(REQUESTS) },
  },
  {
    name: 'transfers',
    title: 'CPU of a MiB, over the same through a plain relay',
    file: 'transfers',
    size: 64,
    warm: 64,
    rounds: 15,
    renew: 5,
    rows: ['http', 'https'].flatMap((scheme) =>
      ['down', 'up'].flatMap((direction) =>
        [
          ['socket', 'core'],
          ['http', 'agent'],
          ['undici', 'dispatcher'],
        ].map(([group, client]) => ({
          row: `${direction}, ${scheme}, ${group}: ${client}`,
          control: `${direction}, ${scheme}, ${group}: plain`,
          goal: 1.02,
        })),
      ),
    ),
  },
  {
    name: 'promises',
    title: 'promises of one operation, more than those of a hand-written exchange',
    by: 'difference',
    file: 'work',
    digits: 1,
    size: 200,
    warm: 300,
    rounds: 3,
    rows: [
      ...counts('promises', 'new connection', {
        socket: { core: 19.5, socks: undefined },
        http: { agent: 21.5, 'socks-proxy-agent': undefined },
        undici: { dispatcher: 22.5 },
      }),
      ...counts('promises', 'kept-alive request', { http: { agent: 0.5 }, undici: { dispatcher: 0.5 } }),
    ],
    small: {},
  },
  {
    name: 'allocation',
    title: 'KiB of the heap that one operation allocates, more than a hand-written exchange',
    by: 'difference',
    file: 'work',
    digits: 1,
    size: 200,
    warm: 300,
    rounds: 7,
    execArgv: NO_COLLECTION,
    rows: [
      ...counts('KiB', 'new connection', {
        socket: { core: 18, socks: undefined },
        http: { agent: 22, 'socks-proxy-agent': undefined },
        undici: { dispatcher: 23.5 },
      }),
      ...counts('KiB', 'kept-alive request', { http: { agent: 1.5 }, undici: { dispatcher: 2.5 } }),
    ],
    small: {},
  },
  // path.js runs the sources themselves, which Node reads since 24.
  ...(MAJOR < 24
    ? []
    : [
        {
          name: 'calls',
          title: 'calls of functions of the packages for one request over TLS',
          by: 'itself',
          file: 'calls',
          digits: 0,
          size: 1,
          warm: 0,
          rounds: 1,
          rows: alone({
            'fetch, new connection': [undefined, 115],
            'https.get, new connection': [undefined, 105],
            'fetch, kept-alive connection': [undefined, 25],
            'https.get, kept-alive connection': [undefined, 8],
          }),
          small: {},
        },
      ]),
  {
    name: 'memory',
    title: 'memory of an idle tunnel, over that of a hand-written exchange',
    file: 'memory',
    size: 400,
    warm: 400,
    rounds: 9,
    rows: [
      ...over('socket: exchange', { 'socket: core': 1.1 }),
      ...over('http: exchange', { 'http: agent': 1.1 }),
      ...over('undici: exchange', { 'undici: dispatcher': 1.1 }),
    ],
    small: { rounds: 2 },
  },
  {
    name: 'kept',
    title: 'bytes that a finished connection, or a finished origin, leaves behind',
    by: 'itself',
    file: 'memory',
    digits: 0,
    size: 2000,
    warm: 2000,
    rounds: 9,
    rows: alone({
      'finished: core': 100,
      'finished: agent': 100,
      'finished: dispatcher': 100,
      'origins: agent': 100,
      'origins: dispatcher': 100,
    }),
    small: { rounds: 3, size: 1500, warm: 1500 },
  },
  {
    name: 'tunnels',
    title: 'CPU of a connection beside 4,096 open tunnels, over that beside one',
    file: 'scale',
    size: 300,
    warm: 300,
    crowded: true,
    rounds: 25,
    rows: over('1 tunnels: core', { '4096 tunnels: core': 1.2 }),
  },
  {
    name: 'origins',
    title: 'CPU of a kept-alive request while the pool has connections to 2,000 origins, over that with one',
    file: 'scale',
    size: 300,
    warm: 300,
    crowded: true,
    rounds: 25,
    rows: ['agent', 'dispatcher'].flatMap((client) =>
      over(`1 origins: ${client}`, { [`2000 origins: ${client}`]: 1.2 }),
    ),
  },
  {
    name: 'trips',
    title:
      'round trips to the first byte, with standby connections to a proxy that wants a password; plain has no proxy',
    by: 'itself',
    file: 'trips',
    digits: 0,
    size: 1,
    warm: 0,
    rounds: 3,
    rows: alone({
      'http: plain': undefined,
      'http: agent': 2,
      'http: dispatcher, fetch': 2,
      'https: plain': undefined,
      'https: agent': 3,
      'https: dispatcher, fetch': 3,
    }),
    small: {},
  },
  {
    name: 'import',
    title: 'milliseconds of CPU to import a package, more than net, tls, http and https',
    by: 'difference',
    file: 'imports',
    digits: 1,
    size: 1,
    warm: 1,
    rounds: 40,
    rows: over('plain', { core: 5, env: 8, agent: 9, undici: 9 }),
    small: { rounds: 15 },
  },
];
