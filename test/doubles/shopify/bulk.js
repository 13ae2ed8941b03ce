// Bulk operations: a query of any size, run in the background, whose result is a file of JSON lines.  The query is compiled once into
// a walk over the resolvers' tables (resolvers.js) and each line is written as it is made, so that 100,000 products take seconds and
// little memory; between pieces the server goes on answering, and the shop goes on changing.
//
// A line's children follow it, with __parentId: the id of the node in whose connection they stand, also where objects are between.
// With bulk_adjacent false they come after all lines of their parents' level, as Shopify may write them.
//
// Operations of both types are kept here; what a bulk mutation is, is in bulk_mutation.js.
'use strict';

const fs = require('fs');
const os = require('os');
const path = require('path');
const { graphql, schema } = require('./schema.js');
const { FIELDS, CONNECTIONS, rowsOf, checkAccess } = require('./resolvers.js');
const { Refused, checkMutation, checkIdentifier, linesOf, variablesOf, shuffled } = require('./bulk_mutation.js');
const { runLine } = require('./execute.js');

const { getNamedType, isAbstractType, isCompositeType } = graphql;
const isConnection = (type) => type.name.endsWith('Connection');
const WEEK = 7 * 86400 * 1e6;
const PIECE = 1 << 18;          // bytes that are written at once
const TURN = 25;                // milliseconds of work before others get their turn

// ---- the query -----------------------------------------------------------------------------------------------------------------

// What Shopify asks of a bulk query beyond its schema.  Texts: the first and the third are recorded, the others from memory.
function check(operation, fragments) {
	const nodes = [], withoutId = [];
	let connections = 0, deepest = 0;
	const walk = (set, type, depth, owner) => {
		for (const s of set.selections) {
			if (s.kind !== 'Field') {
				const fragment = s.kind === 'FragmentSpread' ? fragments[s.name.value] : s;
				walk(fragment.selectionSet, fragment.typeCondition ? schema.getType(fragment.typeCondition.name.value) : type, depth,
					owner);
				continue;
			}
			if (s.name.value.startsWith('__') || !s.selectionSet)
				continue;
			const of = getNamedType(type.getFields()[s.name.value].type);
			if (!isConnection(of)) {
				walk(s.selectionSet, of, depth, owner);
				continue;
			}
			connections++;
			deepest = Math.max(deepest, depth);
			if (owner && !owner.selectionSet.selections.some((x) => x.kind === 'Field' && x.name.value === 'id' && !x.alias)
				&& !withoutId.includes(owner.of))
				withoutId.push(owner.of);
			const edges = s.selectionSet.selections.find((x) => x.kind === 'Field' && x.name.value === 'edges');
			const node = edges && edges.selectionSet.selections.find((x) => x.kind === 'Field' && x.name.value === 'node');
			if (!node)
				nodes.push(s.name.value);
			else if (node.selectionSet)
				walk(node.selectionSet, getNamedType(getNamedType(of.getFields().edges.type).getFields().node.type), depth + 1,
					Object.assign(node, { of: s.name.value }));
		}
	};
	walk(operation.selectionSet, schema.getQueryType(), 0, null);
	if (nodes.length)
		throw new Refused('All connection fields in a bulk query must select their contents using \'edges\' > \'node\', e.g: '
			+ `'${nodes[0]} { edges { node {'. Selecting via 'nodes' is not supported. `
			+ `Invalid connection fields: '${nodes.join('\', \'')}'.`);
	if (connections === 0)
		throw new Refused('Bulk queries must contain at least one connection.');
	if (withoutId.length)
		throw new Refused('The parent \'node\' field for a nested connection must select the \'id\' field without an alias '
			+ 'and must be of \'ID\' return type. '
			+ `Connection fields without 'id': ${withoutId.join(', ')}.`);
	if (connections > 5)
		throw new Refused('Bulk queries cannot contain more than 5 connections.');
	if (deepest > 2)
		throw new Refused('Bulk queries cannot contain connections with a nesting depth greater than 2.');
}

// A selection on a concrete type as a list of parts: { key, get(source) } with `parts` for objects, `connection` for connections.
function compile(set, type, context, fragments) {
	const parts = [];
	for (const s of set.selections) {
		if (s.kind !== 'Field') {
			const fragment = s.kind === 'FragmentSpread' ? fragments[s.name.value] : s;
			const wanted = fragment.typeCondition ? schema.getType(fragment.typeCondition.name.value) : type;
			if (wanted === type || (isAbstractType(wanted) && schema.isSubType(wanted, type)))
				parts.push(...compile(fragment.selectionSet, type, context, fragments));
			continue;
		}
		const name = s.name.value, key = s.alias ? s.alias.value : name;
		if (name === '__typename') {
			parts.push({ key, get: () => type.name });
			continue;
		}
		const field = type.getFields()[name];
		const of = getNamedType(field.type);
		const args = graphql.getArgumentValues(field, s, {});
		checkAccess(type.name, name, context);
		if (isConnection(of)) {
			if (!CONNECTIONS[type.name] || !CONNECTIONS[type.name][name])
				throw new Error(`The double does not know ${type.name}.${name}`);
			const node = s.selectionSet.selections.find((x) => x.kind === 'Field'
				&& x.name.value === 'edges').selectionSet.selections.find((x) => x.name.value === 'node');
			parts.push({ key, connection: true, rows: (source) => rowsOf(type.name, name, source, args, context, [key]).rows,
				parts: subParts(node.selectionSet, getNamedType(getNamedType(of.getFields().edges.type).getFields().node.type), context,
					fragments) });
			continue;
		}
		const resolver = FIELDS[type.name] && FIELDS[type.name][name];
		const get = resolver ? (source) => resolver(source, args, context) : (source) => source[name];
		parts.push({ key, get, parts: isCompositeType(of) ? subParts(s.selectionSet, of, context, fragments) : null });
	}
	return parts;
}

// The parts for a value of a type: of one concrete type, or by the value's own.
function subParts(set, type, context, fragments) {
	if (!isAbstractType(type)) {
		const parts = compile(set, type, context, fragments);
		return () => parts;
	}
	const byType = new Map();
	return (value) => {
		if (!byType.has(value.__typename))
			byType.set(value.__typename, compile(set, schema.getType(value.__typename), context, fragments));
		return byType.get(value.__typename);
	};
}

// The JSON object of a source; the connections below it, with their source, go to `below`.
function objectOf(source, parts, below) {
	const out = {};
	for (const part of parts) {
		if (part.connection) {
			below.push(part, source);
			continue;
		}
		const value = part.get(source);
		if (value === null || value === undefined)
			out[part.key] = null;
		else if (!part.parts)
			out[part.key] = value;
		else if (Array.isArray(value))
			out[part.key] = value.map((item) => objectOf(item, part.parts(item), below));
		else
			out[part.key] = objectOf(value, part.parts(value), below);
	}
	return out;
}

// ---- operations ----------------------------------------------------------------------------------------------------------------

const RUNNING = ['CREATED', 'RUNNING', 'CANCELING'];

class Bulk {
	constructor(shop) {
		this.shop = shop;
		this.folder = fs.mkdtempSync(path.join(os.tmpdir(), 'shopify-bulk-'));
		for (const signal of ['SIGTERM', 'SIGINT'])
			process.on(signal, () => process.exit(0));
		process.on('exit', () => fs.rmSync(this.folder, { recursive: true, force: true }));
		this.reset();
	}

	reset() {
		for (const b of this.operations || [])
			b.status = 'CANCELED';
		this.operations = [];
		this.most = 0;
	}

	find(id) { return this.operations.find((b) => b.id === id); }
	newest(type) { return this.operations.filter((b) => b.type === type).pop() || null; }
	counts() {
		return { operations: this.operations.length, most: this.most, statuses: this.operations.map((b) => b.status),
			list: this.operations.map(({ id, type, status, errorCode, objectCount }) => ({ id, type, status, errorCode, objectCount })) };
	}

	// bulkOperationRunQuery.
	startQuery({ query: text }) {
		return this.begin('QUERY', text, ['query'], () => {
			const bytes = Buffer.byteLength(text);
			if (bytes > 65535)
				throw new Refused(`Query is too large (${bytes} bytes; maximum is 65535 bytes)`, 'INVALID', ['query']);
			const refuse = (message) => new Refused(message, 'INVALID', ['query']);
			let document;
			try {
				document = graphql.parse(text);
			} catch (error) {
				throw refuse('Invalid bulk query: syntax error, '
					+ (/<EOF>/.test(error.message) ? 'unexpected end of file' : error.message.replace(/^Syntax Error: /, '')));
			}
			const errors = graphql.validate(schema, document);
			if (errors.length)
				throw refuse(`Invalid bulk query: ${errors.map((e) => e.message).join(', ')}`);
			const fragments = {};
			for (const d of document.definitions)
				if (d.kind === 'FragmentDefinition')
					fragments[d.name.value] = d;
			const operation = document.definitions.find((d) => d.kind === 'OperationDefinition');
			if (operation.operation !== 'query')
				throw refuse('Invalid bulk query: only queries are allowed.');
			check(operation, fragments);
			return (b) => this.runQuery(b, operation, fragments);
		});
	}

	// bulkOperationRunMutation.
	startMutation({ mutation: text, stagedUploadPath, clientIdentifier }) {
		return this.begin('MUTATION', text, null, () => {
			const prepared = checkMutation(text);
			checkIdentifier(clientIdentifier);
			const file = this.shop.uploads.find(stagedUploadPath), lines = linesOf(file);
			return (b) => this.runMutation(b, prepared, file, lines);
		});
	}

	// Starts an operation: `prepare` gives the work, or throws Refused; what it throws is seen before the others that are running are.
	begin(type, text, field, prepare) {
		const { store, options } = this.shop;
		const refuse = (message, code, at) => ({ bulkOperation: null, userErrors: [{ field: at, message, code }] });
		let work;
		try {
			work = prepare();
		} catch (error) {
			if (!(error instanceof Refused))
				throw error;
			if (error.errors)
				this.shop.reject(text, undefined, error.errors);
			return refuse(error.message, error.code === undefined ? 'INVALID' : error.code, error.field === undefined ? field : error.field);
		}
		const running = this.operations.filter((b) => RUNNING.includes(b.status));
		if (running.length >= options.bulk_concurrent)
			return refuse(`A bulk ${type.toLowerCase()} operation for this app and shop is already in progress: `
				+ `${running.map((b) => `gid://shopify/BulkOperation/${b.id}`).join(', ')}.`,
				'OPERATION_IN_PROGRESS', null);
		const b = { id: store.newId('BulkOperation'), type, status: 'CREATED', query: text, created: store.now(), completed: null,
			errorCode: null,
			objectCount: 0, rootObjectCount: 0, fileSize: null, url: null, partialDataUrl: null, end: options.bulk_next.shift()
				|| 'COMPLETED', error: options.bulk_error,
			ready: performance.now() + options.bulk_delay_ms };
		this.operations.push(b);
		this.most = Math.max(this.most, running.length + 1);
		setImmediate(() => work(b).catch((error) => {
			console.error(error);
			this.finish(b, 'FAILED', error.extensions && error.extensions.code === 'ACCESS_DENIED' ? 'ACCESS_DENIED'
				: 'INTERNAL_SERVER_ERROR');
		}));
		return { bulkOperation: { ...b }, userErrors: [] };
	}

	// Waits until the operation may end: its delay is over and nothing holds it.
	async mayEnd(b) {
		while (RUNNING.includes(b.status) && b.status !== 'CANCELING' && (this.shop.options.bulk_hold || performance.now() < b.ready))
			await new Promise((resolve) => { this.waiting = resolve; setTimeout(resolve, 20); });
	}

	wake() { if (this.waiting) this.waiting(); }

	async runQuery(b, operation, fragments) {
		const { shop } = this, { options } = shop;
		b.status = 'RUNNING';
		await this.mayEnd(b);
		const context = { ...shop, search: [], bulkRun: true };
		const roots = compile(operation.selectionSet, schema.getQueryType(), context, fragments).filter((p) => p.connection);
		const file = path.join(this.folder, `${b.id}.jsonl`);
		const outs = [0, 1, 2].map((depth) => ({ name: depth === 0 ? file : `${file}.${depth}`, text: [], size: 0, fd: null }));
		const flush = (out) => {
			if (out.text.length === 0)
				return;
			out.fd ??= fs.openSync(out.name, 'w');
			fs.writeSync(out.fd, out.text.join(''));
			out.text = [];
			out.size = 0;
		};
		const most = b.end === 'FAILED' ? shop.options.bulk_fail_after : Infinity;
		const emit = (source, parts, parentId, depth) => {
			if (b.objectCount >= most)
				return;
			const below = [];
			const object = objectOf(source, parts, below);
			if (parentId !== undefined)
				object.__parentId = parentId;
			const line = JSON.stringify(object) + '\n';
			const out = outs[shop.options.bulk_adjacent ? 0 : depth];
			if (options.bulk_lose_next > 0)
				options.bulk_lose_next--;
			else
				out.text.push(line);
			b.objectCount++;
			if ((out.size += line.length) >= PIECE)
				flush(out);
			for (let k = 0; k < below.length; k += 2)
				for (const child of below[k].rows(below[k + 1]))
					emit(child, below[k].parts(child), object.id, depth + 1);
		};
		let turn = performance.now();
		for (const root of roots)
			for (const source of root.rows({})) {
				if (b.status !== 'RUNNING' || b.objectCount >= most)
					break;
				if (performance.now() - turn > TURN) {
					await new Promise((resolve) => setImmediate(resolve));
					turn = performance.now();
				}
				if (root.key === 'products' && !shop.store.products.has(source.id))
					continue;           // deleted since the operation began
				b.rootObjectCount++;
				emit(source, root.parts(source), undefined, 0);
			}
		outs.forEach(flush);
		for (const out of outs.slice(1))
			if (out.fd !== null) {
				outs[0].fd ??= fs.openSync(outs[0].name, 'w');
				await append(out.name, outs[0].fd);
				fs.closeSync(out.fd);
				fs.unlinkSync(out.name);
			}
		if (outs[0].fd !== null)
			fs.closeSync(outs[0].fd);
		this.conclude(b, outs[0].fd !== null);
	}

	// The lines of a bulk mutation, one after the other, each seen by others as soon as it ran.  It waits (bulk_hold, bulk_delay_ms) after
	// bulk_hold_after of them; one that is to fail or to be cancelled ends after bulk_fail_after, or bulk_mutation_cut.
	async runMutation(b, prepared, file, lines) {
		const { shop } = this, { options } = shop;
		let most = b.end === 'FAILED' || b.end === 'CANCELED' ? options.bulk_fail_after : Infinity;
		if (options.bulk_mutation_cut > 0) {
			[most, b.end, options.bulk_mutation_cut] = [options.bulk_mutation_cut, 'FAILED', 0];
		}
		b.status = 'RUNNING';
		const hold = options.bulk_hold_after < 0 ? lines.length : Math.min(options.bulk_hold_after, lines.length);
		const fd = fs.openSync(path.join(this.folder, `${b.id}.jsonl`), 'w');
		let text = [], turn = performance.now(), done = 0;
		for (const number of shuffled(lines.length, options.seed * 1000003 + b.id)) {
			if (done === hold)
				await this.mayEnd(b);
			if (b.status !== 'RUNNING' || done >= most)
				break;
			if (performance.now() - turn > TURN) {
				await new Promise((resolve) => setImmediate(resolve));
				turn = performance.now();
			}
			done++;
			const answer = this.runOne(b, prepared, variablesOf(file, lines[number]), number);
			if (answer.errors && answer.errors.some((e) => e.extensions && e.extensions.code === 'ACCESS_DENIED' && e.path
				&& e.path.length === 1))
				[b.end, b.error, most] = ['FAILED', 'ACCESS_DENIED', 0];
			if (options.bulk_lose_next > 0)
				options.bulk_lose_next--;
			else
				text.push(`${JSON.stringify({ data: answer.data, errors: answer.errors, __lineNumber: number })}\n`);
			b.objectCount++;
			b.rootObjectCount++;
			if (text.length >= 200) {
				fs.writeSync(fd, text.join(''));
				text = [];
			}
		}
		if (hold >= lines.length)
			await this.mayEnd(b);
		fs.writeSync(fd, text.join(''));
		fs.closeSync(fd);
		this.conclude(b, b.objectCount > 0);
	}

	runOne(b, prepared, given, number) {
		if (!given)
			return { errors: [{ message: `Line ${number} is not a JSON object`, extensions: { code: 'BAD_REQUEST' } }] };
		const { body, note } = runLine(prepared, given, this.shop, { bulkOperation: b.id, line: number });
		if (note.rejected)
			this.shop.reject(b.query, given, note.rejected);
		if (note.unknown)
			this.shop.unknown(note.unknown);
		return body;
	}

	// The end of an operation that did what it should; its file is there when `written`.
	conclude(b, written) {
		const url = written ? `${this.shop.base}/bulk/${b.id}.jsonl?Expires=${Math.floor((this.shop.store.now() + WEEK) / 1e6)}` : null;
		b.fileSize = url ? fs.statSync(path.join(this.folder, `${b.id}.jsonl`)).size : null;
		if (b.status === 'CANCELING')
			b.end = 'CANCELED';
		if (b.end === 'COMPLETED' || b.end === 'EXPIRED')
			b.url = url;
		else
			b.partialDataUrl = url;
		this.finish(b, b.end, b.end === 'FAILED' ? b.error : null);
	}

	finish(b, status, errorCode) {
		b.status = status;
		b.errorCode = errorCode;
		b.completed = this.shop.store.now();
		this.shop.webhooks.bulkFinished(b);
	}

	cancel(id) {
		const b = this.find(id);
		if (!b)
			return { bulkOperation: null, userErrors: [{ field: ['id'], message: 'Bulk operation does not exist' }] };
		if (!RUNNING.includes(b.status))
			return { bulkOperation: { ...b }, userErrors: [{ field: null,
				message: `A bulk operation cannot be canceled when it is ${b.status.toLowerCase()}` }] };
		b.status = 'CANCELING';
		this.wake();
		return { bulkOperation: { ...b }, userErrors: [] };
	}

	// A status by control: what Shopify does by itself to operations that stall or grow old.
	force(id, status) {
		const b = id ? this.find(id) : this.operations[this.operations.length - 1];
		if (!b)
			throw new Error(`no such bulk operation: ${id}`);
		if (RUNNING.includes(b.status) && status === 'CANCELED')
			b.status = 'CANCELING';
		else if (RUNNING.includes(b.status))
			b.end = status;
		else
			b.status = status;
		if (status === 'EXPIRED')
			b.url = null;
	}

	// The file: whole, or from where a Range header says; bulk_cut_next bytes into it the connection ends.
	serve(name, request, response, entry) {
		const { options, store } = this.shop;
		const b = this.find(Number(name.replace('.jsonl', '')));
		const file = path.join(this.folder, path.basename(name));
		const refuse = (status, text) => {
			entry.status = status;
			response.writeHead(status, { 'Content-Type': 'application/xml' });
			response.end(`<?xml version='1.0' encoding='UTF-8'?><Error><Code>${text}</Code></Error>`);
		};
		if (options.status_next.length)
			return refuse(options.status_next.shift(), 'Fault');
		if (!b || !fs.existsSync(file))
			return refuse(404, 'NoSuchKey');
		if (b.status === 'EXPIRED' || store.now() > b.completed + WEEK)
			return refuse(400, 'ExpiredToken');
		const size = fs.statSync(file).size;
		const range = /^bytes=(\d+)-$/.exec(request.headers.range || '');
		const start = range ? Number(range[1]) : 0;
		if (start >= size)
			return refuse(416, 'InvalidRange');
		const cut = options.bulk_cut_next > 0 ? options.bulk_cut_next : 0;
		options.bulk_cut_next = 0;
		entry.status = range ? 206 : 200;
		response.writeHead(entry.status, { 'Content-Type': 'application/jsonl', 'Content-Length': size - start, 'Accept-Ranges': 'bytes',
			...(range ? { 'Content-Range': `bytes ${start}-${size - 1}/${size}` } : {}) });
		const stream = fs.createReadStream(file, { start, ...(cut ? { end: start + cut - 1 } : {}) });
		if (cut) {
			stream.on('end', () => setTimeout(() => response.socket && response.socket.destroy(), 50));
			stream.pipe(response, { end: false });
		} else
			stream.pipe(response);
		response.on('close', () => stream.destroy());
		return undefined;
	}
}

// Appends a file to an open one.
function append(name, fd) {
	return new Promise((resolve, reject) => {
		fs.createReadStream(name).on('data', (piece) => fs.writeSync(fd, piece)).on('end', resolve).on('error', reject);
	});
}

module.exports = { Bulk };
