#!/usr/bin/env node
// A stand-in for Xorosoft's API, as its public clients' code shows it: Basic auth, GET <base>/<module>/<action>, pages of 100 from 1,
// an envelope with Result, Message and Data, HTTP 500 without Result for a missing scope, HTTP 200 with Result:false when throttled.
//
//   xorosoft.js [--port N] [--items FILE | --count N --seed S --known SHARE] [--option value ...]
//
// Prints {"port":N} and serves on 127.0.0.1 until it is killed.  FILE: .json (array) or .ndjson of items, or .csv with a header,
// whose columns are item keys.  Every key of `options` below is an option of the command line and of POST /_control.
//   GET /_effects    what was asked: counts, highest concurrency, and the times, by endpoint
//   GET /_log        the last 10,000 requests
//   POST /_control   JSON object of options; POST /_items: array of items to add or change (by ItemNumber); POST /_reset: forgets counts
'use strict';

const fs = require('fs');
const http = require('http');
const path = require('path');
const products = require('../lib/products.js');

const options = {
	port: 0,
	items: '', count: 0, seed: 1, known: 1, variants: 0,
	key: 'key', secret: 'secret',     // of Basic auth
	base: '/api/xerp',
	page_size: 100,
	wide: true,                       // the some 326 keys that a real item has
	total_pages: true,                // false: the envelope has neither Page nor TotalPages
	empty_result: true,               // Result of an answer that is truly empty
	scope: true,                      // false: this key may not read items
	latency_ms: 0, latency_jitter_ms: 0,
	rate: 0,                          // requests a second; 0: no limit
	rate_mode: 'empty',               // 'empty': 200 with Result:false, '429': with Retry-After
	retry_after: 1,
	fail_every: 0, fail_status: 500,  // each n-th request; fail_next: the next n
	fail_next: 0,
	empty_pages: [], empty_times: 1,  // pages that come empty that many times before they are right
	invalid_json_next: 0, truncate_next: 0, drop_next: 0, hang_next: 0, huge_next: 0,
};

const bucket = { tokens: 0, at: 0 };     // of the rate
const emptied = new Map();               // how often each of empty_pages came empty

for (let k = 2; k < process.argv.length; k += 2) {
	const name = process.argv[k].replace(/^--/, '').replace(/-/g, '_');
	if (!(name in options) || k + 1 >= process.argv.length) {
		console.error(`xorosoft.js: unknown option or no value: ${process.argv[k]}`);
		process.exit(2);
	}
	setOption(name, process.argv[k + 1]);
}

function setOption(name, value) {
	if (!(name in options))
		throw new Error(`unknown option: ${name}`);
	if (typeof value === 'string' && typeof options[name] !== 'string')
		value = JSON.parse(value);
	options[name] = value;
	if (name === 'rate')
		bucket.tokens = value;
	if (name === 'empty_pages' || name === 'empty_times')
		emptied.clear();
}

// ---- items ---------------------------------------------------------------------------------------------------------------------

let items = [];            // oldest change first, as the ERP gives them
const byNumber = new Map();
const byBase = new Map();

// The ERP's way to write a time: no zone, twelve hours.
function erpTime(ms) {
	const d = new Date(ms), two = (n) => String(n).padStart(2, '0');
	return `${two(d.getUTCMonth() + 1)}/${two(d.getUTCDate())}/${d.getUTCFullYear()} ` +
		`${two(d.getUTCHours() % 12 || 12)}:${two(d.getUTCMinutes())}:${two(d.getUTCSeconds())} ${d.getUTCHours() < 12 ? 'AM' : 'PM'}`;
}

// Milliseconds of a time as clients write it: MM/DD/YYYY[ hh:mm:ss[ AM]] or ISO; NaN where it is neither.
function parseTime(text) {
	const m = /^(\d{1,2})\/(\d{1,2})\/(\d{4})(?:[ +](\d{1,2}):(\d{2}):(\d{2})(?:[ +]([AP]M))?)?$/i.exec(text);
	if (!m)
		return Date.parse(/[zZ]|[+-]\d\d:?\d\d$/.test(text) ? text : text.includes('T') ? text + 'Z' : text);
	let hour = +(m[4] || 0);
	if (m[7])
		hour = hour % 12 + (m[7].toUpperCase() === 'PM' ? 12 : 0);
	return Date.UTC(+m[3], m[1] - 1, +m[2], hour, +(m[5] || 0), +(m[6] || 0));
}

// Keys that a real item has and nobody here reads.
const FILLER = {};
for (let k = 1; k <= 14; k++)
	FILLER[`CustomPrice${k}`] = k % 3 ? null : 0.0;
for (let k = 1; k <= 40; k++)
	FILLER[`CustomField${k}`] = k % 2 ? '' : null;
for (const name of ['Account', 'Tax', 'Commission', 'Royalty', 'Harmonized', 'Container', 'Pallet', 'Carton', 'InnerPack', 'Serial', 'Lot', 'Season',
	'Gender', 'Fabric', 'Lining', 'Country', 'Buyer', 'Planner', 'Division', 'Channel'])
	for (const part of ['Id', 'Code', 'Name', 'Flag', 'Qty', 'Value', 'Uom', 'Date', 'Note'])
		FILLER[`${name}${part}`] = part === 'Flag' ? false : part === 'Qty' || part === 'Value' ? 0.0
			: part === 'Date' ? '01/01/0001 12:00:00 AM' : part === 'Id' ? null : '';

const FILLER_JSON = JSON.stringify(FILLER).slice(0, -1) + ',';

// An item as JSON, with or without the keys that nobody reads.
function itemJson(entry) {
	const text = JSON.stringify(itemOf(entry));
	return options.wide ? FILLER_JSON + text.slice(1) : text;
}

const FIRST_CHANGE = Date.UTC(2024, 0, 1);

// An item as the ERP gives it, from the few values that matter here; `n` is its place in the order of creation.
function makeItem(v, n) {
	return {
		Id: v.Id ?? 500000 + n,
		ItemNumber: v.ItemNumber,
		OldItemNumber: n % 3 ? '' : null,
		AlternativeItemNumber1: v.AlternativeItemNumber1 ?? '',
		AlternativeItemNumber2: null,
		AlternativeItemNumber3: '',
		BasePartNumber: v.BasePartNumber ?? v.ItemNumber,
		ProductHeaderId: v.ProductHeaderId ?? 900000 + n,
		Title: v.Title ?? '',
		Description: v.Description ?? (n % 2 ? '' : null),
		ItemTypeName: v.ItemTypeName ?? 'Inventory',
		ItemUpc: v.ItemUpc ?? (n % 2 ? '' : null),
		ItemBarcode: v.ItemBarcode ?? '',
		ItemGtin: v.ItemGtin ?? null,
		BrandName: v.BrandName ?? (n % 2 ? null : ''),
		Manufacturer: v.Manufacturer ?? v.BrandName ?? '',
		VendorPartNumber: v.VendorPartNumber ?? '',
		CategoryName: v.CategoryName ?? '',
		ActiveFlag: v.ActiveFlag ?? true,
		IsSellableFlag: v.IsSellableFlag ?? true,
		DiscontinuedDate: v.DiscontinuedDate ?? '01/01/0001 12:00:00 AM',
		StandardUnitPrice: v.StandardUnitPrice ?? 0,
		StandardUnitCost: v.StandardUnitCost ?? 0,
		AverageUnitCost: v.AverageUnitCost ?? null,
		DiscountedPrice: null,
		CurrencyPriceList: [],
		ReOrderPointQty: 10.0, ReOrderQty: 24.0, MinimumOrderQty: 1.0,
		Option1Name: '', Option1Value: '', Option2Name: null, Option2Value: null, Option3Name: null, Option3Value: null,
		SellUomName: 'EA', ImagePath: '', Tags: null,
		CreateDttm: v.CreateDttm ?? erpTime(FIRST_CHANGE),
		ModifyDttm: v.ModifyDttm ?? erpTime(FIRST_CHANGE + n * 60000),
		...v.extra,
	};
}

// An entry of `items` is { n, number, created, modified } with either the item itself or `i`, the number of the generated product
// that it is made from when it is asked for: a million items then fit in memory.
function itemOf(entry) {
	return entry.item || generatedItem(entry.i, entry.v, entry.n);
}

// The ERP's people write numbers in their own way: without hyphens, or in small letters.
const erpNumber = (sku, i) => (i % 10 === 3 ? sku.replace(/-/g, '') : i % 10 === 7 ? sku.toLowerCase() : sku);

function generatedItem(i, v, n) {
	const p = products.product(options.seed, i);
	return makeItem({
		ItemNumber: erpNumber(products.variantSku(p.sku, v), i), BasePartNumber: erpNumber(p.sku, i), Title: p.title, ItemUpc: i % 4 ? p.gtin : '', BrandName: i % 6 ? p.brand : null, VendorPartNumber: p.mpn,
		CategoryName: p.type, StandardUnitPrice: p.cents / 100, StandardUnitCost: Math.round(p.cents * 0.6) / 100,
		ActiveFlag: i % 50 !== 9, IsSellableFlag: i % 75 !== 9,
	}, n);
}

function generate() {
	for (let i = 1; i <= options.count; i++) {
		if (!products.isKnown(options.seed, i, options.known))
			continue;
		for (let v = 0; v < (products.hasVariants(options.seed, i, options.variants) ? 3 : 1); v++) {
			const n = items.length;
			const number = erpNumber(products.variantSku(products.sku(i), v), i).toUpperCase();
			const entry = { n, i, v, number, created: FIRST_CHANGE, modified: FIRST_CHANGE + n * 60000 };
			items.push(entry);
			byNumber.set(number, entry);
			if (v > 0)
				byBase.set(items[n - v].number, items.slice(n - v));
		}
	}
}

// Adds an item, or puts it in the place of the one with its number.
function addItem(item) {
	const number = item.ItemNumber.toUpperCase();
	const old = byNumber.get(number);
	const entry = old || { n: items.length, number };
	if (!old)
		items.push(entry);
	entry.item = item;
	entry.created = parseTime(item.CreateDttm);
	entry.modified = parseTime(item.ModifyDttm);
	byNumber.set(number, entry);
	const base = String(item.BasePartNumber).toUpperCase();
	byBase.set(base, [...(byBase.get(base) || []).filter((e) => e !== entry), entry]);
}

// The items of a base part: their own list, or the one item that is its own base part.
const itemsOfBase = (base) => byBase.get(base.toUpperCase()) || [byNumber.get(base.toUpperCase())].filter(Boolean);

function parseCsv(text) {
	const rows = [];
	let row = [], field = '', quoted = false;
	for (let k = 0; k < text.length; k++) {
		const c = text[k];
		if (quoted) {
			if (c !== '"')
				field += c;
			else if (text[k + 1] === '"')
				field += text[++k];
			else
				quoted = false;
		} else if (c === '"' && field === '')
			quoted = true;
		else if (c === ',') {
			row.push(field);
			field = '';
		} else if (c === '\n') {
			row.push(field.replace(/\r$/, ''));
			rows.push(row);
			row = [];
			field = '';
		} else
			field += c;
	}
	if (field !== '' || row.length)
		rows.push([...row, field]);
	return rows;
}

function load(file) {
	const text = fs.readFileSync(file, 'utf8');
	let list;
	if (path.extname(file) === '.csv') {
		const [header, ...rows] = parseCsv(text);
		list = rows.map((row) => Object.fromEntries(header.map((name, k) => [name, row[k]])));
	} else if (path.extname(file) === '.ndjson')
		list = text.split('\n').filter((line) => line.trim()).map((line) => JSON.parse(line));
	else
		list = JSON.parse(text);
	put(list);
}

// Adds or changes items; what changes is the newest from then on.
function put(list) {
	for (const values of list) {
		if (typeof values.ItemNumber !== 'string' || values.ItemNumber === '')
			throw new Error('an item has no ItemNumber');
		const old = byNumber.get(values.ItemNumber.toUpperCase());
		const item = old ? { ...itemOf(old), ...values } : makeItem({ ...values, extra: values }, items.length);
		if (old && !values.ModifyDttm)
			item.ModifyDttm = erpTime(Date.now());
		if (Number.isNaN(parseTime(item.ModifyDttm)) || Number.isNaN(parseTime(item.CreateDttm)))
			throw new Error(`item ${item.ItemNumber} has a time that is none`);
		addItem(item);
	}
	items.sort((a, b) => a.modified - b.modified);
}

// ---- answers -------------------------------------------------------------------------------------------------------------------

function envelope(data, page, totalPages, result = true, message = '') {
	const body = {
		Result: result, Message: message, MessageTitle: null, MetaData: null, Data: data, ErrorCode: null, SelectorErrorCode: null,
		Exceptions: null, EndRequest: false, LogFlag: false, IsForwardRequest: false, ConfirmFlag: false, ConfirmValue: null,
		ConfirmValueData: null,
	};
	if (options.total_pages && page) {
		body.Page = page;
		body.TotalPages = totalPages;
	}
	return body;
}

// One page of a list, each entry rendered to JSON, or a refusal when `page` is no number.
function paged(list, query, render) {
	const page = query.has('page') ? Number(query.get('page')) : 1;
	if (!Number.isInteger(page) || page < 1)
		return { status: 500, body: { Message: 'An error has occurred.' } };
	const total = Math.ceil(list.length / options.page_size);
	const key = page;
	if (options.empty_pages.includes(page) && (emptied.get(key) || 0) < options.empty_times) {
		emptied.set(key, (emptied.get(key) || 0) + 1);
		return { status: 200, body: envelope([], page, total, false) };
	}
	const data = list.slice((page - 1) * options.page_size, page * options.page_size).map((e) => render(e));
	return { status: 200, body: envelope([], page, total, data.length > 0 || options.empty_result), data };
}

// Position of the first item changed at or after `ms`: items are in the order of their change.
function lowerBound(ms) {
	let low = 0, high = items.length;
	while (low < high) {
		const middle = (low + high) >> 1;
		if (items[middle].modified < ms)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

function getItem(query) {
	const number = query.get('item_number'), base = query.get('base_part_number');
	if (number !== null) {
		const found = byNumber.get(number.toUpperCase());
		return paged(found ? [found] : [], new URLSearchParams(), itemJson);
	}
	let list = base === null ? items : itemsOfBase(base);
	for (const name of ['updated_at_min', 'updated_at_max', 'created_at_min', 'created_at_max'])
		if (query.has(name) && Number.isNaN(parseTime(query.get(name))))
			return { status: 500, body: { Message: 'An error has occurred.' } };
	if (list === items && query.has('updated_at_min'))
		list = items.slice(lowerBound(parseTime(query.get('updated_at_min'))));
	if (query.has('updated_at_max'))
		list = list.filter((e) => e.modified <= parseTime(query.get('updated_at_max')));
	if (query.has('created_at_min'))
		list = list.filter((e) => e.created >= parseTime(query.get('created_at_min')));
	if (query.has('created_at_max'))
		list = list.filter((e) => e.created <= parseTime(query.get('created_at_max')));
	return paged(list, query, itemJson);
}

const STORES = [[1, 'Main Warehouse'], [2, 'Toronto'], [3, 'Calgary']];

function stockRows(entry) {
	const item = itemOf(entry);
	const h = products.mix(7, item.Id, 1);
	return (item.Stores || STORES.slice(0, 1 + h % 3).map(([id, name], k) => ({ StoreId: id, StoreName: name, OnHandQty: (h >> (4 * k)) % 40 })))
		.map((s) => ({
			ItemId: item.Id, ItemNumber: item.ItemNumber, BasePartNumber: item.BasePartNumber,
			ItemDescription: item.Title, ItemTags: null, ProductHeaderId: item.ProductHeaderId,
			StoreId: s.StoreId, StoreName: s.StoreName, OnHandQty: s.OnHandQty, AvailableQty: s.AvailableQty ?? s.OnHandQty,
			AllocatedQty: s.AllocatedQty ?? 0.0, NotAvailableQty: 0.0, NetAvailable: s.OnHandQty, ATSQty: s.OnHandQty, ATSQtyIncPO: s.OnHandQty,
			QtyOnSO: 0.0, QtyOnPO: s.QtyOnPO ?? 0.0, QtyOnPODraft: 0.0, QtyOnASN: 0.0,
		}));
}

function getInventory(query) {
	let list = items;
	if (query.has('item_number'))
		list = [byNumber.get(query.get('item_number').toUpperCase())].filter(Boolean);
	else if (query.has('base_part_number'))
		list = itemsOfBase(query.get('base_part_number'));
	else if (query.has('item_id'))
		list = items.filter((e) => String(itemOf(e).Id) === query.get('item_id'));
	const least = query.has('min_on_hand') ? Number(query.get('min_on_hand')) : -Infinity;
	const stores = query.has('store') ? query.get('store').split(',') : null;
	const rows = [];
	for (const entry of list)
		for (const row of stockRows(entry))
			if (row.OnHandQty >= least && (!stores || stores.includes(row.StoreName)))
				rows.push(row);
	return paged(rows, query, JSON.stringify);
}

const ENDPOINTS = {
	'/product/item/getitem': getItem,
	'/item/getitem': getItem,
	'/inventory/getinventorybyitem': getInventory,
};

// ---- the server ----------------------------------------------------------------------------------------------------------------

let effects, log, concurrency = 0, requests = 0;

function reset() {
	effects = { requests: 0, max_concurrency: 0, throttled: 0, failed: 0, unauthorized: 0, endpoints: {}, times: [] };
	log = [];
	requests = 0;
	emptied.clear();
}

// Whether one more request is within the rate.
function allowed() {
	if (!options.rate)
		return true;
	const now = performance.now();
	bucket.tokens = Math.min(options.rate, bucket.tokens + (now - bucket.at) / 1000 * options.rate);
	bucket.at = now;
	if (bucket.tokens < 1)
		return false;
	bucket.tokens -= 1;
	return true;
}

// true, and one less of the option, while it is above zero.
function take(name) {
	if (options[name] <= 0)
		return false;
	options[name]--;
	return true;
}

function answer(request, query, endpoint) {
	const expected = 'Basic ' + Buffer.from(`${options.key}:${options.secret}`).toString('base64');
	if (request.headers.authorization !== expected) {
		effects.unauthorized++;
		return { status: 401, body: { Message: 'Authorization has been denied for this request.' } };
	}
	if (!allowed()) {
		effects.throttled++;
		if (options.rate_mode === '429')
			return { status: 429, headers: { 'Retry-After': String(options.retry_after) }, body: { Message: 'Too many requests.' } };
		return { status: 200, body: envelope([], 0, 0, false) };
	}
	if ((options.fail_every && requests % options.fail_every === 0) || take('fail_next')) {
		effects.failed++;
		return { status: options.fail_status, body: { Message: 'An error has occurred.' } };
	}
	if (!options.scope || request.method !== 'GET' || !ENDPOINTS[endpoint])
		return { status: 500, body: { Message: 'An error has occurred.' } };
	return ENDPOINTS[endpoint](query);
}

function send(response, result, entry, started) {
	let text = JSON.stringify(result.body);
	if (result.data)
		text = text.replace('"Data":[]', () => `"Data":[${result.data.join(',')}]`);

	concurrency--;
	entry.status = result.status;
	entry.ms = Math.round(performance.now() - started);
	if (take('hang_next'))
		return;
	if (take('drop_next')) {
		response.socket.destroy();
		return;
	}
	if (take('invalid_json_next'))
		text = '<html><body>Sign in to continue</body></html>';
	else if (take('huge_next'))
		text = '{"Result":true,"Data":[' + '"x",'.repeat(64 * 1024 * 1024 / 4) + '"x"]}';
	const body = Buffer.from(text);
	response.writeHead(result.status, { 'Content-Type': 'application/json; charset=utf-8', 'Content-Length': body.length, ...result.headers });
	if (take('truncate_next')) {
		response.write(body.subarray(0, body.length >> 1), () => response.socket.destroy());
		return;
	}
	response.end(body);
}

function control(request, response, name) {
	const chunks = [];
	request.on('data', (chunk) => chunks.push(chunk));
	request.on('end', () => {
		let status = 200, body = {};
		try {
			const text = Buffer.concat(chunks).toString();
			if (name === '/_effects')
				body = { ...effects, items: items.length };
			else if (name === '/_log')
				body = log;
			else if (name === '/_reset')
				reset();
			else if (name === '/_items')
				put(JSON.parse(text));
			else if (name === '/_control') {
				for (const [key, value] of Object.entries(JSON.parse(text)))
					setOption(key, value);
				body = options;
			} else
				throw new Error(`unknown: ${name}`);
		} catch (error) {
			status = 400;
			body = { error: error.message };
		}
		response.writeHead(status, { 'Content-Type': 'application/json' });
		response.end(JSON.stringify(body));
	});
}

const server = http.createServer({ keepAliveTimeout: 60000 }, (request, response) => {
	const at = request.url.indexOf('?');
	const name = at < 0 ? request.url : request.url.slice(0, at);
	if (name.startsWith('/_'))
		return control(request, response, name);

	const started = performance.now();
	const endpoint = name.startsWith(options.base) ? name.slice(options.base.length) : name;
	const query = new URLSearchParams(at < 0 ? '' : request.url.slice(at + 1));
	const entry = { time: Date.now(), method: request.method, endpoint, query: at < 0 ? '' : request.url.slice(at + 1) };
	requests++;
	effects.requests++;
	effects.endpoints[endpoint] = (effects.endpoints[endpoint] || 0) + 1;
	if (effects.times.length < 100000)
		effects.times.push(entry.time);
	if (log.push(entry) > 20000)
		log = log.slice(-10000);
	effects.max_concurrency = Math.max(effects.max_concurrency, ++concurrency);
	request.resume();
	const result = answer(request, query, endpoint);
	const wait = options.latency_ms + Math.random() * options.latency_jitter_ms;
	if (wait > 0)
		setTimeout(send, wait, response, result, entry, started);
	else
		send(response, result, entry, started);
});

reset();
if (options.items)
	load(options.items);
else
	generate();
server.listen(options.port, '127.0.0.1', 1024, () => console.log(JSON.stringify({ port: server.address().port })));
