// What is measured: each figure is a quotient, that of a row over its control, unless it is `absolute`. `size` is what
// one batch does, `warm` what comes before the first batch.

/** @typedef {{ row: string, control?: string, goal?: number }} Row */

/** Rows that are compared with one control, each with its goal; other libraries have none. */
const over = (control, goals) =>
  Object.entries(goals).map(([row, goal]) =>
    goal === undefined ? { row, control } : { row, control, goal },
  );

/** fetch-socks brings the newest undici with it. */
const clientsOf = (version) => ['Socks5ProxyAgent', ...(version === 8 ? ['fetch-socks'] : [])];
/** The rows of one version of undici; `prefix` ends the name of the group. */
const ofUndici = (prefix, version, goal) => {
  const row = (client) => `undici ${version}${prefix}: ${client}`;
  const clients = [['dispatcher', goal], ...clientsOf(version).map((client) => [client])];
  return over(row('exchange'), Object.fromEntries(clients.map(([client, each]) => [row(client), each])));
};
/** undici 8 needs Node 22.19. */
const VERSIONS = Number(process.versions.node.split('.')[0]) < 22 ? [7] : [7, 8];

export const FIGURES = [
  {
    name: 'connections',
    title: 'CPU of a new connection with one request, 64 at a time, over a hand-written exchange',
    file: 'connections',
    size: 512,
    warm: 2500,
    rows: [
      ...over('socket: exchange', { 'socket: core': 1.2, 'socket: socks': undefined }),
      ...over('http: exchange', { 'http: agent': 1.25, 'http: socks-proxy-agent': undefined }),
      ...VERSIONS.flatMap((version) => ofUndici(', http', version, 1.15)),
    ],
  },
  {
    name: 'tls-connections',
    title: 'CPU of a new connection over TLS with one request, 16 at a time, over a hand-written exchange',
    file: 'connections',
    size: 128,
    warm: 500,
    rows: [
      ...over('https: exchange', { 'https: agent': 1.05, 'https: socks-proxy-agent': undefined }),
      ...VERSIONS.flatMap((version) => ofUndici(', https', version, 0.92)),
    ],
  },
  {
    name: 'requests',
    title: "CPU of a kept-alive request, over Node's or undici's own agent with a hand-written exchange",
    file: 'requests',
    size: 600,
    warm: 2500,
    rows: [
      ...over('http: exchange', { 'http: agent': 1.05, 'http: socks-proxy-agent': undefined }),
      ...over('https: exchange', { 'https: agent': 1.05 }),
      ...VERSIONS.flatMap((version) => ofUndici('', version, 1.05)),
      ...over('fetch: plain', { 'fetch: dispatcher': 1.05 }),
    ],
  },
  {
    name: 'transfers',
    title: 'CPU of a MiB, over the same through a plain relay',
    file: 'transfers',
    size: 64,
    warm: 64,
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
    name: 'memory',
    title: 'memory of an idle tunnel, over that of a hand-written exchange',
    file: 'memory',
    size: 400,
    warm: 400,
    rows: [
      ...over('socket: exchange', { 'socket: core': 1.1 }),
      ...over('http: exchange', { 'http: agent': 1.1 }),
      ...over('undici: exchange', { 'undici: dispatcher': 1.1 }),
    ],
  },
  {
    name: 'kept',
    title: 'bytes that a finished connection, or a finished origin, leaves behind',
    file: 'memory',
    absolute: true,
    digits: 0,
    size: 2000,
    warm: 2000,
    rows: [
      'finished: core',
      'finished: agent',
      'finished: dispatcher',
      'origins: agent',
      'origins: dispatcher',
    ].map((row) => ({ row, goal: 100 })),
  },
  {
    name: 'tunnels',
    title: 'CPU of a connection beside 4,096 open tunnels, over that beside one',
    file: 'scale',
    size: 300,
    warm: 300,
    rows: over('1 tunnels: core', { '4096 tunnels: core': 1.2 }),
  },
  {
    name: 'origins',
    title: 'CPU of a kept-alive request while the pool has connections to 2,000 origins, over that with one',
    file: 'scale',
    size: 300,
    warm: 300,
    rows: ['agent', 'dispatcher'].map((client) => ({
      row: `2000 origins: ${client}`,
      control: `1 origins: ${client}`,
      goal: 1.2,
    })),
  },
  {
    name: 'trips',
    title: 'round trips to the first byte with standby connections; a direct connection takes 2',
    file: 'trips',
    absolute: true,
    digits: 2,
    size: 1,
    warm: 1,
    rows: ['core', 'agent', 'dispatcher, fetch'].map((row) => ({ row, goal: 2.2 })),
  },
];
