'use strict';
class Bulk {
	constructor() { this.reset(); }
	reset() { this.operations = []; }
	find() { return null; }
	newest() { return null; }
	counts() { return {}; }
	wake() {}
	force() {}
	serve(name, request, response) { response.writeHead(404); response.end(); }
}
module.exports = { Bulk };
