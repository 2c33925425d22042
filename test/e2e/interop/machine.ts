// The machine as the servers see it: names and accounts that exist for the servers alone.

export const HOSTS: string = `
127.0.0.1 localhost origin.test dual.test
::1 localhost ip6.test dual.test
`;

// Names come from files alone, because there is no name server.
export const NSSWITCH: string = `
hosts: files
passwd: files
group: files
shadow: files
`;

export const CREDENTIALS: { readonly username: string; readonly password: string } = {
  username: 'alice',
  password: 'secret',
};

/** The user id of {@link CREDENTIALS}' username. */
export const UID: number = 1000;

export const PASSWD: string = `
root:x:0:0::/:/bin/sh
alice:x:${UID}:${UID}::/:/bin/sh
`.trimStart();

export const GROUP: string = `
root:x:0:
alice:x:${UID}:
`.trimStart();

// The hash is `openssl passwd -6 -salt socksify secret`.
export const SHADOW: string = `
root:*:1::::::
alice:$6$socksify$XpJBw3vh0t/r6tGD8I5CtlVkDoQEN5EtfPQeZloGc.ZmEllcBw7EB1o0Uh4VwiqaHwoPNdbqnfxU1Br5UUwrc.:1::::::
`.trimStart();
