// Changes of the code that no test notices, each group with the reason: file, reason, and `code => changed code`, cut
// after 90 characters.

export const SURVIVORS: Record<string, Record<string, readonly string[]>> = {};
