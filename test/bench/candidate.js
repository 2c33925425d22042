// One candidate in a process of its own, since what changes the shape of Node's objects for one would slow the others:
// makes the measurement that its arguments name, and answers each message with one figure.
//
//     node --expose-gc candidate.js FILE NAME PORTS

const [, , file, name, ports] = process.argv;
const { default: candidates } = await import(`./candidates/${file}.js`);
const measure = await candidates[name](JSON.parse(ports));
process.on('message', async (size) => process.send(await measure(size)));
process.on('disconnect', () => process.exit());
process.send('ready');
