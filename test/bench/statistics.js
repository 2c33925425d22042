// What a list of numbers comes to.

/** The lower quartile, the median and the upper quartile. */
export function summarize(numbers) {
  const sorted = numbers.toSorted((a, b) => a - b);
  const at = (part) => sorted[Math.round((sorted.length - 1) * part)];
  const [low, median, high] = [at(0.25), at(0.5), at(0.75)];
  // Of a normal distribution: the standard deviation is the distance of the quartiles / 1.35, and the error of the
  // median is 1.25 times that of the mean.
  return { low, median, high, error: (1.25 * (high - low)) / 1.35 / Math.sqrt(sorted.length) };
}

export function shuffled(list) {
  const rest = [...list];
  return list.map(() => rest.splice(Math.floor(Math.random() * rest.length), 1)[0]);
}
