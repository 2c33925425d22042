// For `node --require`: runs in workers made from source text too, where `--import` does not.
'use strict';
require('./dist/register.js');
