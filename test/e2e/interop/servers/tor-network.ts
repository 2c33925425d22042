// A tor network of its own on the loopback: three directory authorities, an exit, and the client that applications
// talk to. Unlike in tor.ts, tunnels open: each leads through three relays.

import { mkdir, readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { freePort } from '@socksify/support';
import { startNameServer } from '../name-server.ts';
import type { InteropServer, RunningServer } from '../server-traits.ts';
import { defineServer } from '../server-process.ts';
import type { Answer, Entry, ServerSetup } from '../server-process.ts';

/** Milliseconds until the relays are known, and from then until the client must have built a circuit. */
const DEADLINE = { consensus: 120_000, bootstrap: 50_000 } as const;
const POLL = 100;

/** As many as a path needs before its exit, and one to spare: a relay is not used twice in a path. */
const AUTHORITIES = ['authority0', 'authority1', 'authority2'] as const;

export interface TorNetwork extends RunningServer {
  /** The names that the exit has looked up. */
  readonly queried: readonly string[];
  /** The lines of the answer to GETINFO on the client's control socket. */
  readonly getInfo: (key: string) => Promise<string[]>;
}

interface Authority {
  readonly name: string;
  readonly ports: { readonly or: number; readonly dir: number };
}

// As often as tor allows: a first consensus within 5 s of the start, and from then on one at every 10 s of the clock.
const VOTING = `
TestingV3AuthInitialVotingInterval 5
TestingV3AuthInitialVoteDelay 2
TestingV3AuthInitialDistDelay 2
V3AuthVotingInterval 10
V3AuthVoteDelay 2
V3AuthDistDelay 2
TestingDirAuthVoteExit *
TestingDirAuthVoteGuard *
TestingDirAuthVoteHSDir *
TestingMinExitFlagThreshold 0
`;

function common(dir: string, name: string): string {
  return `
TestingTorNetwork 1
AssumeReachable 1
PathsNeededToBuildCircuits 0.25
ShutdownWaitLength 0
SafeLogging 0
Log notice stderr
Nickname ${name}
DataDirectory ${join(dir, name)}
`;
}

function authorityConfig({ ports }: Authority): string {
  return `
AuthoritativeDirectory 1
V3AuthoritativeDirectory 1
ContactInfo nobody@origin.test
Address 127.0.0.1
ORPort 127.0.0.1:${ports.or}
DirPort 127.0.0.1:${ports.dir}
SocksPort 0
ExitPolicy reject *:*
${VOTING}`;
}

// It reads no hosts file, so it needs a name server. It may learn of the other relays last, and would refuse until then
// what comes through them.
function exitConfig(port: number, resolvConf: string): string {
  return `
Address 127.0.0.1
ORPort 127.0.0.1:${port}
SocksPort 0
ExitRelay 1
RefuseUnknownExits 0
IPv6Exit 1
ExitPolicyRejectPrivate 0
ExitPolicy accept *:*
ServerDNSResolvConfFile ${resolvConf}
ServerDNSDetectHijacking 0
ServerDNSTestAddresses localhost
`;
}

function clientConfig(port: number, control: string): string {
  return `
SocksPort 127.0.0.1:${port} ExtendedErrors
ControlSocket ${control}
`;
}

async function setUp(setup: ServerSetup, names: number): Promise<{ entry: Entry; control: string }> {
  const { dir, write, start } = setup;
  const authorities: Authority[] = [];
  for (const name of AUTHORITIES) {
    authorities.push({ name, ports: { or: await freePort(), dir: await freePort() } });
  }
  const [exit, port, control] = [await freePort(), await freePort(), join(dir, 'control')];
  const defaults = await write('defaults', '');
  const lines = await Promise.all(authorities.map((authority) => introduce(setup, defaults, authority)));
  const resolvConf = await write('resolv.conf', `nameserver 127.0.0.1:${names}\n`);
  const begin = async (name: string, answer: Answer, config: string): Promise<void> => {
    const file = await write(`${name}.torrc`, common(dir, name) + lines.join('\n') + config);
    await start(answer, 'tor', '--defaults-torrc', defaults, '-f', file);
  };
  await Promise.all([
    begin('exit', { port: exit }, exitConfig(exit, resolvConf)),
    ...authorities.map((authority) =>
      begin(authority.name, { port: authority.ports.or }, authorityConfig(authority)),
    ),
  ]);
  // A vote can come before the relays have said who they are. A client that got the consensus of such a vote would
  // keep it for half a minute.
  await until(DEADLINE.consensus, async () => {
    const known = await Promise.all(authorities.map(countRelays));
    return {
      done: known.every((count) => count === AUTHORITIES.length + 1),
      state: `relays known: ${known.join()}`,
    };
  });
  await begin('client', { path: control }, clientConfig(port, control));
  await until(DEADLINE.bootstrap, async () => {
    const state = (await getInfo(control, 'status/bootstrap-phase')).join();
    return { done: state.includes('PROGRESS=100'), state };
  });
  return { entry: { port }, control };
}

/** Makes the keys of an authority and returns the line by which all others know it. */
async function introduce(
  { dir, run }: ServerSetup,
  defaults: string,
  { name, ports }: Authority,
): Promise<string> {
  const data = join(dir, name);
  const keys = join(data, 'keys');
  await mkdir(keys, { recursive: true, mode: 0o700 });
  const certificate = join(keys, 'authority_certificate');
  const identity = ['-i', join(keys, 'authority_identity_key')];
  const signing = ['-s', join(keys, 'authority_signing_key'), '-c', certificate];
  // The passphrase is read from standard input, which is empty.
  const secret = ['--create-identity-key', '--passphrase-fd', '0', '-m', '12'];
  await run('tor-gencert', ...secret, '-a', `127.0.0.1:${ports.dir}`, ...identity, ...signing);
  const ident = /^fingerprint (\w+)$/m.exec(await readFile(certificate, 'utf8'))?.[1];
  const line = (fingerprint: string): string =>
    `DirAuthority ${name} orport=${ports.or} no-v2 v3ident=${ident} 127.0.0.1:${ports.dir} ${fingerprint}`;
  // An authority has to be in its own list, also while it does not know its fingerprint yet.
  const own = ['--Nickname', name, '--DataDirectory', data, '--ORPort', `127.0.0.1:${ports.or}`];
  const others = ['--DirAuthority', line('F'.repeat(40)).replace('DirAuthority ', '')];
  const empty = ['--defaults-torrc', defaults, '-f', defaults];
  await run('tor', '--list-fingerprint', '--quiet', ...empty, ...own, ...others);
  const [, fingerprint = ''] = (await readFile(join(data, 'fingerprint'), 'utf8')).trim().split(' ');
  return line(fingerprint);
}

/** How many relays the consensus of an authority lists: none while there is no consensus. */
async function countRelays({ ports }: Authority): Promise<number> {
  const response = await fetch(`http://127.0.0.1:${ports.dir}/tor/status-vote/current/consensus-microdesc`);
  return (await response.text()).match(/^r /gm)?.length ?? 0;
}

async function until(
  patience: number,
  look: () => Promise<{ readonly done: boolean; readonly state: string }>,
): Promise<void> {
  const deadline = Date.now() + patience;
  for (;;) {
    const { done, state } = await look();
    if (done) return;
    if (Date.now() > deadline) throw new Error(`after ${patience} ms still ${state}`);
    await delay(POLL);
  }
}

/** One key of GETINFO: the value behind `250-key=`, or the lines between `250+key=` and a dot. */
async function getInfo(control: string, key: string): Promise<string[]> {
  const socket = connect(control).setEncoding('latin1');
  socket.write(`AUTHENTICATE\r\nGETINFO ${key}\r\nQUIT\r\n`);
  let text = '';
  for await (const chunk of socket) text += chunk as string;
  const [, answer] = text.split(/^250[-+][^=]+=/m);
  if (answer === undefined) throw new Error(`no ${key}: ${text}`);
  const end = answer.search(/^(?:\.|250 OK)\r\n/m);
  return answer.slice(0, end).trim().split('\r\n').filter(Boolean);
}

const DESCRIPTION = {
  name: 'tor network',
  binaries: ['tor', 'tor-gencert'],
  supports: { 4: true, '4a': true, 5: true, userpass: true },
  traits: {
    connects: true,
    refused: { 4: 'ERR_SOCKS_REJECTED', '4a': 'ERR_SOCKS_REJECTED', 5: 'ERR_SOCKS_GENERAL_FAILURE' },
    unknownName: { '4a': 'ERR_SOCKS_REJECTED', 5: 'ERR_SOCKS_HOST_UNREACHABLE' },
    noAcceptableMethod: 'ERR_SOCKS_NO_ACCEPTABLE_METHOD',
    unsupported: {},
  },
} as const;

async function startNetwork(): Promise<TorNetwork> {
  const names = await startNameServer();
  let control = '';
  const server = defineServer({
    ...DESCRIPTION,
    setUp: async (setup) => {
      const found = await setUp(setup, names.port);
      control = found.control;
      return found.entry;
    },
  });
  try {
    const running = await server.start();
    const stop = async (): Promise<void> => {
      await running.stop();
      await names.close();
    };
    return { ...running, stop, queried: names.queried, getInfo: (key) => getInfo(control, key) };
  } catch (error) {
    await names.close();
    throw error;
  }
}

export const torNetwork: Omit<InteropServer, 'start'> & { readonly start: () => Promise<TorNetwork> } = {
  ...DESCRIPTION,
  start: startNetwork,
};
