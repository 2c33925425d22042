// A password whose every form can be looked for in what a program prints.

/** The ends need encoding in a URL, so that each form of the password is one of its own. */
export const SECRET: string = 'p@ss/correct-horse%42';

/** Parts of the password of the user `user`, as text and in the encodings in which it is sent. */
export const FORMS_OF_SECRET: readonly string[] = [
  'correct-horse',
  encodeURIComponent(SECRET),
  Buffer.from(SECRET).toString('base64').slice(0, -4),
  Buffer.from(`user:${SECRET}`).toString('base64').slice(0, -4),
  Buffer.from(SECRET).toString('hex'),
];
