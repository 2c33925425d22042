// Preloaded into the programs: lets a direct connection come to the site, where it is counted, and writes down each name
// that the program looks up itself. Without this file, a direct connection would fail at the look-up, and no test would see
// it. A look-up that succeeds, or that socksify refuses, is not written down: it has not left the machine.

const { appendFileSync } = require('node:fs');
const dns = require('node:dns');
const { isIP } = require('node:net');

const { lookup } = dns;
dns.lookup = function recorded(host, options, ...rest) {
  const [callback = options] = rest;
  lookup(host, options, (error, ...answer) => {
    if (isIP(host) || error === null || error.code?.startsWith('ERR_SOCKS_')) callback(error, ...answer);
    else record(host, () => lookup(process.env.SITE, options, ...rest));
  });
};

for (const name of ['resolve', 'resolve4', 'resolve6', 'resolveSrv', 'resolveTxt']) {
  const resolve = dns.promises[name];
  dns.promises[name] = async (host, ...options) => {
    try {
      return await resolve(host, ...options);
    } catch (error) {
      if (!error.code?.startsWith('ERR_SOCKS_')) record(host, () => {});
      throw error;
    }
  };
}

function record(host, next) {
  appendFileSync(process.env.LOOKUPS, `${host}\n`);
  next();
}
