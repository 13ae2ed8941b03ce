'use strict';
module.exports = { mutations: {} };
