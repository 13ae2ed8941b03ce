#!/usr/bin/env node
// A stand-in for a Shopify shop: its Admin GraphQL API of version 2026-10, checked against Shopify's own schema and run with graphql-js
// on products kept in memory, with the cost bucket, limits, search, bulk operations, webhooks and faults of the real one.
//
//   shopify.js [--port N] [--products N --variants V --seed S] [--option value ...]        (options: shopify/options.js)
//
// Prints {"port":N} and serves on 127.0.0.1 until it is killed.  POST /admin/oauth/access_token, POST /admin/api/VERSION/graphql.json,
// GET /bulk/FILE, POST /staged-uploads/ (a form); and for the test:
//   GET /_effects    counts, `writes` (what changed, by whom), `rejected` (queries that the schema or Shopify's rules refuse) and
//                    `unknown` (fields that this double does not know): a test fails on the last two; `seconds`: requests, points and
//                    THROTTLED of each second since the start.  ?by=app&mutation=M&product=N&bulk=N&key=K&since=N picks writes
//   GET /_log        the last 10,000 requests;   GET /_products[?id=N,N]  the shop's content, short
//   POST /_seed      {"products": N, "variants": 2, "seed": S} or {"products": [..]};   POST /_edit  [{..}] changes by the merchant
//   POST /_control   an object of options, and of commands: advance (seconds), index_advance (number or true),
//                    expire_tokens, fill_bucket (true or points), bulk ({id, status})
//   GET /_webhooks   the pending deliveries, signed;   POST /_webhooks {"take": n, "order": "reverse", ..} takes them
//   POST /_reset     forgets what was counted; {"shop": true}: the products too
'use strict';

const crypto = require('crypto');
const http = require('http');
const options = require('./shopify/options.js');
const { VERSION } = require('./shopify/schema.js');
const { Store } = require('./shopify/store.js');
const { Bucket } = require('./shopify/cost.js');
const { run, asksFor, requestId } = require('./shopify/execute.js');
const { mutations } = require('./shopify/mutations.js');
const { forgetReplies } = require('./shopify/inventory.js');
const { edit, summary } = require('./shopify/merchant.js');
const { Bulk } = require('./shopify/bulk.js');
const { Uploads } = require('./shopify/uploads.js');
const { Webhooks } = require('./shopify/webhooks.js');

function setOption(name, value) {
	if (!(name in options))
		throw new Error(`unknown option: ${name}`);
	options[name] = typeof value === 'string' && typeof options[name] !== 'string' ? JSON.parse(value) : value;
}

for (let k = 2; k < process.argv.length; k += 2) {
	const name = process.argv[k].replace(/^--/, '').replace(/-/g, '_');
	if (!(name in options) || k + 1 >= process.argv.length) {
		console.error(`shopify.js: unknown option or no value: ${process.argv[k]}`);
		process.exit(2);
	}
	setOption(name, process.argv[k + 1]);
}

const store = new Store(options);
const bucket = new Bucket(options);
const counters = { requests: 0 };
const shop = { store, options, bucket, counters, mutations };
shop.webhooks = new Webhooks(shop);
shop.uploads = new Uploads(shop);
shop.bulk = new Bulk(shop);
shop.reject = (query, variables, errors) => {
	if (effects.rejected.length < 100)
		effects.rejected.push({ query: String(query).slice(0, 5000), variables, errors });
};
shop.unknown = (list) => effects.unknown.length < 100 && effects.unknown.push(...list);
store.listeners.push((effect, product) => shop.webhooks.note(effect, product));

const tokens = new Map();       // token of the grant -> when it expires, microseconds
let effects, log, begun;

function reset() {
	effects = { requests: 0, graphql: 0, mutations: {}, queries: {}, tokens: 0, throttled: 0, failed: 0, unauthorized: 0, points: 0,
		max_concurrency: 0, downloads: 0, lost_answers: 0, crashed: 0, rejected: [], unknown: [], seconds: [] };
	begun = performance.now();
	log = [];
	store.effects = [];
	store.effectCounts = {};
}

// Counts something in the second in which it happens: effects.seconds has those in which anything did.
function tally(what, n = 1) {
	const second = Math.floor((performance.now() - begun) / 1000);
	let last = effects.seconds[effects.seconds.length - 1];
	if (!last || last.second !== second)
		effects.seconds.push(last = { second, requests: 0, points: 0, throttled: 0, failed: 0 });
	last[what] += n;
}

const take = (name) => options[name] > 0 && options[name]-- > 0;

// ---- answers -------------------------------------------------------------------------------------------------------------------

const STATUS_BODIES = {
	401: { errors: '[API] Invalid API key or access token (unrecognized login or wrong password)' },
	402: { errors: 'Unavailable Shop' },
	403: { errors: 'Forbidden' },
	404: { errors: 'Not Found' },
	423: { errors: 'Locked' },
	429: { errors: 'Exceeded 2 calls per second for api client. Reduce request rates to resume uninterrupted service.' },
	430: { errors: 'Shopify Security Rejection' },
};

function failure(status) {
	effects.failed++;
	tally('failed');
	const headers = status === 429 ? { 'Retry-After': Number(options.retry_after).toFixed(1) } : {};
	if (STATUS_BODIES[status])
		return { status, headers, body: STATUS_BODIES[status] };
	return { status, headers: { 'Content-Type': 'text/html' }, text: `<!DOCTYPE html><html><body><h1>${status}</h1></body></html>` };
}

function allowed(token) {
	return (options.token !== '' && token === options.token) || (tokens.get(token) || 0) > store.now();
}

// The grant: a form (or JSON) with client_id, client_secret and grant_type.
function grant(request, text) {
	let form;
	try {
		form = /json/.test(request.headers['content-type'] || '') ? JSON.parse(text) : Object.fromEntries(new URLSearchParams(text));
	} catch (error) {
		form = {};
	}
	effects.tokens++;
	if (options.status_next.length)
		return failure(options.status_next.shift());
	if (form.grant_type !== 'client_credentials')
		return { status: 400, body: { error: 'unsupported_grant_type', error_description: 'The grant type is not supported.' } };
	if (form.client_id !== options.client_id || form.client_secret !== options.client_secret)
		return { status: 400, body: { error: 'invalid_client', error_description: 'The client is not authorized.' } };
	if (!options.grant)
		return { status: 400, body: { error: 'shop_not_permitted',
			error_description: 'Client credentials cannot be performed on this shop.' } };
	const token = 'shpat_' + crypto.randomBytes(16).toString('hex');
	tokens.set(token, store.now() + options.token_seconds * 1e6);
	return { status: 200, body: { access_token: token, scope: options.scopes.join(','), expires_in: options.token_seconds } };
}

function answerGraphql(request, text, version, entry) {
	effects.graphql++;
	if (!allowed(request.headers['x-shopify-access-token'])) {
		effects.unauthorized++;
		return { status: 401, body: STATUS_BODIES[401] };
	}
	if (options.status_next.length)
		return failure(options.status_next.shift());
	let asked;
	try {
		asked = JSON.parse(text);
	} catch (error) {
		return { status: 400, body: { errors: { query: 'Required parameter missing or invalid' } } };
	}
	const { body, note } = run(asked, shop, { debug: { search: request.headers['shopify-search-query-debug'] === '1' } });
	entry.fields = note.fields;
	entry.cost = note.cost;
	entry.actual = note.actual;
	entry.variables = text.length < 100000 ? asked.variables : undefined;
	for (const field of note.fields || [])
		effects[note.operation === 'mutation' ? 'mutations'
			: 'queries'][field] = (effects[note.operation === 'mutation' ? 'mutations' : 'queries'][field] || 0) + 1;
	effects.points += note.actual || 0;
	tally('points', note.actual || 0);
	if (note.throttled) {
		effects.throttled++;
		entry.throttled = true;
		tally('throttled');
	}
	if (note.failed) {
		effects.failed++;
		tally('failed');
	}
	if (note.rejected)
		shop.reject(asked.query, entry.variables, note.rejected);
	if (note.unknown)
		shop.unknown(note.unknown);
	return { status: 200, body, headers: { 'X-Shopify-API-Version': options.api_version
		|| (/^\d{4}-\d\d$/.test(version) && version > VERSION ? version : VERSION) } };
}

// ---- control -------------------------------------------------------------------------------------------------------------------

const COMMANDS = {
	advance(seconds) {
		if (options.clock)
			options.clock = new Date(Date.parse(options.clock) + seconds * 1000).toISOString();
		else
			options.clock_offset += seconds;
		bucket.advance(seconds);
	},
	index_advance(count) { store.catchUp(count === true ? Infinity : count); },
	expire_tokens() { tokens.clear(); },
	fill_bucket(points) { bucket.fill(); if (points !== true) bucket.available = points; },
	bulk({ id, status }) { shop.bulk.force(Number(String(id).replace(/\D/g, '')), status); },
};

// The effects that a query of /_effects asks for.
function picked(list, query) {
	const wanted = ['by', 'mutation', 'product', 'bulk', 'key', 'kind', 'request'].filter((name) => query.has(name));
	return list.filter((e) => wanted.every((name) => String(e[name]) === query.get(name)) && e.n > Number(query.get('since') || 0));
}

function controlled(name, query, text) {
	const given = text ? JSON.parse(text) : {};
	switch (name) {
		case '/_effects': return { ...effects, products: store.products.size, writes: picked(store.effects, query), counts: store.effectCounts,
			bulk: shop.bulk.counts(), webhooks: shop.webhooks.counts,
			uploads: shop.uploads.list, uploads_refused: shop.uploads.refused };
		case '/_log': return log;
		case '/_reset':
			reset();
			if (given.shop) {
				store.reset();
				forgetReplies();
				shop.bulk.reset();
				shop.uploads.reset();
				shop.webhooks.reset();
			}
			return {};
		case '/_seed': {
			if (Array.isArray(given.products))
				return { ids: given.products.map((p) => summary(store.add(p, null), store)) };
			store.generate({ variants: options.variants, seed: options.seed, levels: options.levels, ...given });
			return { products: store.products.size };
		}
		case '/_edit': return [].concat(given).map((change) => edit(store, change));
		case '/_products': {
			const ids = query.get('id');
			return (ids ? ids.split(',').map((id) => store.product(Number(id))).filter(Boolean)
				: [...store.products.values()]).map((p) => summary(p, store));
		}
		case '/_locations': return [...store.locations.values()].map(({ id, name: title, isActive }) => ({ id, name: title, isActive }));
		case '/_webhooks': return text ? shop.webhooks.take(given) : shop.webhooks.pendingSigned();
		case '/_sign': return { hmac: crypto.createHmac('sha256',
			given.secret ?? options.client_secret).update(given.body).digest('base64') };
		case '/_control':
			bucket.restore();           // at the rates that were good until now
			for (const [key, value] of Object.entries(given))
				if (COMMANDS[key])
					COMMANDS[key](value);
				else
					setOption(key, value);
			if (given.bucket_size)
				bucket.fill();
			shop.bulk.wake();
			return { ...options, now: new Date(store.now() / 1000).toISOString() };
		default: throw new Error(`unknown: ${name}`);
	}
}

// ---- the server ----------------------------------------------------------------------------------------------------------------

let concurrency = 0;

function send(response, result, entry, started) {
	concurrency--;
	entry.status = result.status;
	entry.ms = Math.round(performance.now() - started);
	if (take('hang_next'))
		return;
	if (take('drop_next')) {
		response.socket.destroy();
		return;
	}
	const body = Buffer.from(take('invalid_json_next') ? '<html><body>Sign in to continue</body></html>'
		: result.text ?? JSON.stringify(result.body));
	response.writeHead(result.status, { 'Content-Type': 'application/json; charset=utf-8', 'X-Request-Id': requestId(), ...result.headers,
		'Content-Length': body.length });
	if (take('truncate_next')) {
		response.write(body.subarray(0, body.length >> 1), () => response.socket.destroy());
		return;
	}
	response.end(body);
}

function handle(request, response, name, query, text, raw) {
	const started = performance.now();
	if (name.startsWith('/_')) {
		let status = 200, body;
		try {
			body = controlled(name, query, text);
		} catch (error) {
			status = 400;
			body = { error: error.message };
			console.error(error);
		}
		response.writeHead(status, { 'Content-Type': 'application/json' });
		response.end(JSON.stringify(body));
		return;
	}
	const entry = { time: Date.now(), method: request.method, path: name, bytes: raw.length };
	effects.requests++;
	tally('requests');
	effects.max_concurrency = Math.max(effects.max_concurrency, ++concurrency);
	if (log.push(entry) > 20000)
		log = log.slice(-10000);
	if (request.method === 'GET' && name.startsWith('/bulk/')) {
		effects.downloads++;
		concurrency--;
		shop.bulk.serve(name.slice(6), request, response, entry);
		return;
	}
	const api = /^\/admin\/api\/([^/]+)\/graphql\.json$/.exec(name);
	const upload = request.method === 'POST' && name === '/staged-uploads/', token = name === '/admin/oauth/access_token';
	let asked = { operation: upload ? 'upload' : token ? 'grant' : '', fields: [] };
	if (api && (options.crash_before_effect_next > 0 || options.lose_answer_next > 0))
		try {
			asked = asksFor(JSON.parse(text));
		} catch (error) { /* no JSON: it will be told so */ }
	if (suffers('crash_before_effect_next', 'crash_of', asked)) {
		resetConnection(response, entry, 'crashed');
		return;
	}
	let result;
	if (upload)
		result = shop.uploads.receive(request, raw);
	else if (options.frozen && (api || token))
		result = failure(402);
	else if (request.method === 'POST' && api)
		result = answerGraphql(request, text, api[1], entry);
	else if (request.method === 'POST' && token)
		result = grant(request, text);
	else
		result = { status: 404, body: STATUS_BODIES[404] };
	// What was not done has no answer to lose.
	const lost = result.status < 300 && (!api || entry.actual !== undefined) && suffers('lose_answer_next', 'lose_answer_of', asked);
	const answer = () => (lost ? resetConnection(response, entry, 'lost_answers') : send(response, result, entry, started));
	const wait = options.latency_ms + Math.random() * options.latency_jitter_ms;
	if (wait > 0)
		setTimeout(answer, wait);
	else
		answer();
}

// Whether the request that asks for this is to suffer a fault: `name` of the next ones, restricted by the option `of`.
function suffers(name, of, { operation, fields }) {
	return (options[of] === '' || options[of] === operation || fields.includes(options[of])) && take(name);
}

function resetConnection(response, entry, what) {
	concurrency--;
	effects[what]++;
	entry.fault = what;
	response.socket?.resetAndDestroy();
}

const server = http.createServer({ keepAliveTimeout: 60000 }, (request, response) => {
	const at = request.url.indexOf('?');
	const chunks = [];
	request.on('data', (chunk) => chunks.push(chunk));
	request.on('end', () => {
		const raw = Buffer.concat(chunks);
		try {
			handle(request, response, at < 0 ? request.url : request.url.slice(0, at),
				new URLSearchParams(at < 0 ? '' : request.url.slice(at + 1)), request.url.startsWith('/staged-uploads') ? '' : raw.toString(), raw);
		} catch (error) {
			console.error(error);
			effects.unknown.push(`the double failed: ${error.message}`);
			response.writeHead(599);
			response.end(String(error.stack));
		}
	});
});

reset();
if (options.products)
	store.generate(options);
server.listen(options.port, '127.0.0.1', 1024, () => {
	shop.base = `http://127.0.0.1:${server.address().port}`;
	console.log(JSON.stringify({ port: server.address().port }));
});
