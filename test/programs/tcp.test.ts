// Real servers and the drivers that people use: under --strict=tcp with their default options, and with the socket that the
// code in docs/recipes.md hands over. Names exist for the proxy only.

import { execFile, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { createServer as createTlsServer } from 'node:tls';
import { promisify } from 'node:util';
import { startServer } from '@socksify/server';
import type { SocksServer } from '@socksify/server';
import { CERTIFICATE_FILE, freePort, listen, runProgram, TLS } from '@socksify/support';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { COMMAND, execute } from '../../packages/socksify/test/run-program.ts';
import { createFolder, writeProgram } from '../recipes/recipes.ts';

const here = (path: string): string => join(import.meta.dirname, path);
const run = promisify(execFile);
const folder = mkdtempSync(join(tmpdir(), 'socksify-tcp-'));
const programs = mkdtempSync(here('.run-'));
const recipes = createFolder();
const servers: ChildProcess[] = [];
let proxy: SocksServer;

beforeAll(async () => {
  chmodSync(folder, 0o755);
  const names = { 'server.test': '127.0.0.1', 'example.com': '127.0.0.1', 'origin.test': '127.0.0.1' };
  proxy = await startServer({ names, users: { alice: 'secret', user: 'password' } });
});
afterAll(async () => {
  for (const server of servers) server.kill('SIGKILL');
  await proxy.close();
  rmSync(folder, { recursive: true, force: true });
  rmSync(programs, { recursive: true });
  recipes.remove();
});

/** Starts a server, and waits until it accepts connections. */
async function start(port: number, command: string, ...args: readonly string[]): Promise<void> {
  const path = `${process.env['PATH']}:/usr/sbin:/sbin`;
  const env = { PATH: path, HOME: folder };
  const server = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], env });
  servers.push(server);
  let output = '';
  server.stdout.on('data', (data: Buffer) => (output += String(data)));
  server.stderr.on('data', (data: Buffer) => (output += String(data)));
  let ended: number | string | null | undefined;
  server.on('exit', (status) => (ended = status)).on('error', ({ message }) => (ended = message));
  for (;;) {
    if (ended !== undefined) throw new Error(`${command} ended with ${ended}: ${output}`);
    const socket = connect(port, '127.0.0.1');
    const opened = await new Promise((resolve) =>
      socket.on('connect', () => resolve(true)).on('error', () => resolve(false)),
    );
    socket.destroy();
    if (opened) return;
    await delay(50);
  }
}

/** What the program prints under the command; every connection of it came by name to the proxy. */
async function driver(name: string, port: number, source: string): Promise<string> {
  proxy.log.length = 0;
  const program = join(programs, `${name}.mjs`);
  writeFileSync(program, source);
  const env = {
    SOCKS_PROXY: proxy.url('socks5', { username: 'alice', password: 'secret' }),
    PORT: `${port}`,
  };
  const ended = await execute(process.execPath, [COMMAND, '--strict=tcp', process.execPath, program], env);
  // nodemailer says this where the loopback is the only interface, as in the namespace of the suite.
  const stderr = ended.stderr.replace('Failed to resolve IPv4 addresses with current network\n', '');
  expect({ ...ended, stderr }).toMatchObject({ stderr: '', status: 0 });
  expect(proxy.log.length).toBeGreaterThan(0);
  expect(new Set(proxy.log.map((entry) => `${entry.host}:${entry.port}`))).toEqual(
    new Set([`server.test:${port}`]),
  );
  return ended.stdout.trim();
}

/** Runs a part of docs/recipes.md; the proxy gets one connection, to the name that the part has. */
async function recipe(title: string, port: number, texts: Record<string, string> = {}): Promise<void> {
  proxy.log.length = 0;
  const program = writeProgram(recipes.path, title, {
    '127.0.0.1:1080': `127.0.0.1:${proxy.port}`,
    ...texts,
  });
  const env = { PATH: process.env['PATH'], HOME: folder, NODE_EXTRA_CA_CERTS: CERTIFICATE_FILE };
  const { stdout, ...ending } = await runProgram(process.execPath, [program], { env, timeout: 10_000 });
  expect(ending, title).toEqual({ stderr: '', status: 0, signal: null });
  expect(stdout, title).toContain('hello');
  expect(
    proxy.log.map((entry) => `${entry.atyp} ${entry.host} ${entry.port}`),
    title,
  ).toEqual([`name example.com ${port}`]);
}

test('amqplib talks to RabbitMQ', async () => {
  const [port, distribution, epmd] = [await freePort(), await freePort(), await freePort()];
  const data = join(folder, 'rabbitmq');
  mkdirSync(data);
  const env = {
    RABBITMQ_NODENAME: 'socksify@localhost',
    RABBITMQ_NODE_IP_ADDRESS: '127.0.0.1',
    RABBITMQ_NODE_PORT: `${port}`,
    RABBITMQ_DIST_PORT: `${distribution}`,
    RABBITMQ_MNESIA_BASE: data,
    RABBITMQ_LOG_BASE: data,
    RABBITMQ_PID_FILE: join(data, 'pid'),
    RABBITMQ_CONFIG_FILE: join(data, 'none'),
    RABBITMQ_ENABLED_PLUGINS_FILE: join(data, 'plugins'),
    // Erlang finds its nodes by a server of names of its own.
    ERL_EPMD_ADDRESS: '127.0.0.1',
    ERL_EPMD_PORT: `${epmd}`,
  };
  // Debian's command in /usr/sbin changes the user first, and this one needs none.
  const settings = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  await start(port, 'env', ...settings, '/usr/lib/rabbitmq/bin/rabbitmq-server');
  const source = `import amqp from 'amqplib';
    const connection = await amqp.connect('amqp://server.test:' + process.env.PORT);
    const channel = await connection.createChannel();
    const { queue } = await channel.assertQueue('', { exclusive: true });
    const message = new Promise((resolve) => channel.consume(queue, ({ content }) => resolve(String(content)), { noAck: true }));
    channel.sendToQueue(queue, Buffer.from('42'));
    console.log(await message);
    await connection.close();`;
  expect(await driver('amqplib', port, source)).toBe('42');

  const secure = createTlsServer(TLS, (client) => {
    const broker = connect(port, '127.0.0.1');
    client.on('error', () => broker.destroy()).pipe(broker);
    broker.on('error', () => client.destroy()).pipe(client);
  });
  const tlsPort = await listen(secure);
  // The certificate of the tests is for another name than that of the page.
  const texts = { 'port: 5671': `port: ${tlsPort}`, 'amqps://example.com': 'amqps://origin.test' };
  await recipe('amqplib with TLS', tlsPort, texts);
  secure.close();
}, 60_000);

test('pg talks to PostgreSQL', async () => {
  const port = await freePort();
  const [version = ''] = readdirSync('/usr/lib/postgresql');
  const bin = `/usr/lib/postgresql/${version}/bin`;
  const data = join(folder, 'postgres');
  mkdirSync(data);
  await run('chown', ['postgres', data]);
  // PostgreSQL does not run as root.
  const user = ['--reuid', 'postgres', '--regid', 'postgres', '--clear-groups'];
  await run('setpriv', [...user, `${bin}/initdb`, '--auth=trust', '--no-sync', data]);
  await start(
    port,
    'setpriv',
    ...user,
    `${bin}/postgres`,
    '-D',
    data,
    '-p',
    `${port}`,
    '-h',
    '127.0.0.1',
    '-k',
    data,
  );
  const source = `import pg from 'pg';
    const client = new pg.Client({ host: 'server.test', port: process.env.PORT, user: 'postgres', database: 'postgres' });
    await client.connect();
    console.log((await client.query('select 6 * 7 as answer')).rows[0].answer);
    await client.end();
    const pool = new pg.Pool({ host: 'server.test', port: process.env.PORT, user: 'postgres', database: 'postgres' });
    console.log((await Promise.all([1, 2, 3].map((n) => pool.query('select $1::int * 2 as n', [n])))).map((r) => r.rows[0].n).join());
    await pool.end();`;
  expect(await driver('pg', port, source)).toBe('42\n2,4,6');
  await recipe('pg', port, { 'port: 5432': `port: ${port}` });
}, 60_000);

test('mysql2 talks to MariaDB', async () => {
  const port = await freePort();
  const data = join(folder, 'mariadb');
  await run('mariadb-install-db', [
    '--user=root',
    `--datadir=${data}`,
    '--auth-root-authentication-method=normal',
    '--skip-test-db',
  ]);
  const init = join(folder, 'init.sql');
  writeFileSync(
    init,
    "CREATE USER 'alice'@'%' IDENTIFIED BY 'word';\nCREATE USER 'alice'@'localhost' IDENTIFIED BY 'word';",
  );
  await start(
    port,
    'mariadbd',
    '--no-defaults',
    '--user=root',
    `--datadir=${data}`,
    `--port=${port}`,
    '--bind-address=127.0.0.1',
    `--socket=${join(folder, 'mysql.sock')}`,
    `--init-file=${init}`,
  );
  const source = `import mysql from 'mysql2/promise';
    const connection = await mysql.createConnection({ host: 'server.test', port: process.env.PORT, user: 'alice', password: 'word' });
    console.log((await connection.query('select 6 * 7 as answer'))[0][0].answer);
    await connection.end();`;
  expect(await driver('mysql2', port, source)).toBe('42');
  await recipe('mysql2', port, { 'port: 3306': `port: ${port}` });
}, 60_000);

test('ioredis talks to Redis', async () => {
  const port = await freePort();
  await start(port, 'redis-server', '--port', `${port}`, '--save', '', '--dir', folder);
  const source = `import Redis from 'ioredis';
    const redis = new Redis({ host: 'server.test', port: process.env.PORT });
    await redis.set('answer', 42);
    console.log(await redis.get('answer'));
    await redis.quit();`;
  expect(await driver('ioredis', port, source)).toBe('42');
  await recipe('ioredis', port, { 'port: 6379': `port: ${port}` });
});

test('nodemailer talks to an SMTP server', async () => {
  const port = await freePort();
  await start(port, 'aiosmtpd', '-n', '-l', `127.0.0.1:${port}`, '-c', 'aiosmtpd.handlers.Sink');
  const source = `import nodemailer from 'nodemailer';
    const transport = nodemailer.createTransport({ host: 'server.test', port: process.env.PORT });
    const { accepted } = await transport.sendMail({ from: 'a@server.test', to: 'b@server.test', subject: 's', text: 't' });
    console.log(accepted.join());
    transport.close();`;
  expect(await driver('nodemailer', port, source)).toBe('b@server.test');
  await recipe('nodemailer', port, { 'port: 587': `port: ${port}` });
});

test('ssh2 talks to OpenSSH', async () => {
  const port = await freePort();
  for (const name of ['host', 'alice'])
    await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(folder, name)]);
  await run('cp', [join(folder, 'alice.pub'), join(folder, 'authorized')]);
  const config = [
    `Port ${port}`,
    'ListenAddress 127.0.0.1',
    `HostKey ${join(folder, 'host')}`,
    `AuthorizedKeysFile ${join(folder, 'authorized')}`,
    'PermitRootLogin yes',
    'StrictModes no',
    'UsePAM no',
    `PidFile ${join(folder, 'sshd.pid')}`,
  ];
  writeFileSync(join(folder, 'sshd_config'), config.join('\n'));
  mkdirSync('/run/sshd', { recursive: true });
  await start(port, '/usr/sbin/sshd', '-D', '-f', join(folder, 'sshd_config'));
  const source = `import ssh from 'ssh2';
    import { readFileSync } from 'node:fs';
    import { text } from 'node:stream/consumers';
    const client = new ssh.Client();
    client.connect({ host: 'server.test', port: process.env.PORT, username: 'root', privateKey: readFileSync(${JSON.stringify(join(folder, 'alice'))}) });
    await new Promise((resolve, reject) => client.on('ready', resolve).on('error', reject));
    const stream = await new Promise((resolve, reject) => client.exec('echo $((6 * 7))', (error, out) => error ? reject(error) : resolve(out)));
    console.log((await text(stream)).trim());
    client.end();`;
  expect(await driver('ssh2', port, source)).toBe('42');
  const texts = { 'port: 22': `port: ${port}`, '/home/me/.ssh/id_ed25519': join(folder, 'alice') };
  await recipe('ssh2', port, texts);
});

test('mqtt talks to Mosquitto', async () => {
  const [port, webPort] = [await freePort(), await freePort()];
  const listeners = [`listener ${port} 127.0.0.1`, `listener ${webPort} 127.0.0.1\nprotocol websockets`];
  writeFileSync(join(folder, 'mosquitto.conf'), `${listeners.join('\n')}\nallow_anonymous true\n`);
  await start(port, 'mosquitto', '-c', join(folder, 'mosquitto.conf'));
  const source = `import mqtt from 'mqtt';
    const client = await mqtt.connectAsync('mqtt://server.test:' + process.env.PORT);
    await client.subscribeAsync('topic');
    const message = new Promise((resolve) => client.once('message', (topic, payload) => resolve(String(payload))));
    await client.publishAsync('topic', '42');
    console.log(await message);
    await client.endAsync();`;
  expect(await driver('mqtt', port, source)).toBe('42');
  await recipe('mqtt', port, { 'port: 1883': `port: ${port}` });
  await recipe('mqtt over WebSocket', webPort, { ':9001': `:${webPort}` });
});
