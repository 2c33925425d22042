// pg calls connect() of the stream that it is given, but a tunnel is connected already: node pg.js socks5://127.0.0.1:1080 db.example.com 5432 me

import { connect } from '@socksify/core';
import pg from 'pg';

const [proxy, host, port, user] = process.argv.slice(2);
const { socket } = await connect(proxy, { host, port: Number(port) });
socket.connect = () => {
  process.nextTick(() => socket.emit('connect'));
  return socket;
};

const client = new pg.Client({ host, user, stream: () => socket });
await client.connect();
const { rows } = await client.query('SELECT 1 AS one');
console.log(rows);
await client.end();
