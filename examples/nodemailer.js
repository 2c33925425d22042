// nodemailer uses the socket that getSocket returns: node nodemailer.js socks5://127.0.0.1:1080 mail.example.com 587 me@example.com you@example.com

import { callbackify } from 'node:util';
import { connect } from '@socksify/core';
import nodemailer from 'nodemailer';

const [proxy, host, port, from, to] = process.argv.slice(2);
const transport = nodemailer.createTransport({
  host,
  port: Number(port),
  getSocket: callbackify(async (server) => {
    const { socket } = await connect(proxy, { host: server.host, port: server.port });
    return { connection: socket };
  }),
});

const { response } = await transport.sendMail({ from, to, subject: 'hello', text: 'hello' });
console.log(response);
